-- The least that a database can do with the file: its text in one table, no key, no types.
create table products (
    id text, name text, description text, category text, brand text, price text, currency text,
    stock text, updated_at text, attributes text :extra_columns
);

\copy products from pstdin (format csv, header)
