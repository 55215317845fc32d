-- A list that moves while it is read by number shows some records twice, and may hide others. Where a total is known,
-- that can be told: as many records came as there are by the total, and some of them twice.

-- How many records of the chain may have come twice without any being missed; null where no total is known.
alter table run_chains add column spare bigint check (spare >= 0);

-- Rows whose keys another row of the batch had. The keys of sources that are read by number are noted as well now,
-- not only those of sources with [missing].
alter table seen_keys add column repeats bigint not null default 0;
