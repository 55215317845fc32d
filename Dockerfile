# syntax=docker/dockerfile:1
ARG DEBIAN=bookworm

# Build ---------------------------------------------------------------------------------------
FROM rust:1.95-${DEBIAN} AS build
WORKDIR /build
# The queries are checked against .sqlx; building needs no database.
ENV SQLX_OFFLINE=true

# The dependencies alone, under empty sources: this layer is built again only when they change.
COPY Cargo.toml Cargo.lock ./
COPY crates/embedded/Cargo.toml crates/embedded/
RUN mkdir -p src examples crates/embedded/src \
    && echo 'fn main() {}' > src/main.rs \
    && echo 'fn main() {}' > examples/generate_coingecko_recording.rs \
    && touch src/lib.rs crates/embedded/src/lib.rs \
    && cargo build --release --locked --features parquet --bin kasparro

COPY .cargo .cargo
COPY .sqlx .sqlx
COPY migrations migrations
COPY crates crates
COPY src src
# The real sources may be older than the empty ones, and cargo goes by the time.
RUN find src crates -name '*.rs' -exec touch {} + \
    && cargo build --release --locked --features parquet --bin kasparro

# Run -----------------------------------------------------------------------------------------
FROM debian:${DEBIAN}-slim
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 kasparro \
    && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin kasparro
COPY --from=build /build/target/release/kasparro /usr/local/bin/kasparro
WORKDIR /app
COPY jobs jobs
# Others can reach this address: `serve` needs a token in the database, or KASPARRO_ALLOW_ANONYMOUS.
ENV KASPARRO_JOBS_DIR=/app/jobs \
    KASPARRO_LISTEN=0.0.0.0:8080
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
# Only `serve` and `up` answer it; switch it off for workers and schedulers.
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s --retries=3 CMD ["kasparro", "healthcheck"]
ENTRYPOINT ["kasparro"]
CMD ["serve"]
