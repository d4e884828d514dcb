-- KEY (chain, date)
-- Where the state of a chain's model M_t lies.
CREATE TABLE IF NOT EXISTS {table} (
  path STRING NOT NULL COMMENT 'Folder of safetensors files, one a rank: dense part, optimizer state, tables. Of a fork that nobody starts from, those of its last day alone are kept',
  sha256 STRING NOT NULL COMMENT 'SHA-256 of each file, in order of their names',
  trained_rows BIGINT NOT NULL COMMENT 'Training rows of the day before, counted by the trainer',
  mean_loss DOUBLE COMMENT 'Mean training loss of that day, nats; null where the day was skipped',
  lis_fingerprint STRING NOT NULL COMMENT 'Fingerprint of the chain day: its data, its settings and the day before',
  chain STRING NOT NULL COMMENT 'Training history: variant, fork date, fold and seed',
  date DATE NOT NULL COMMENT 'snapshot_date t of M_t, which was trained on the days before t',
  CONSTRAINT trained_rows_is_not_negative CHECK (trained_rows >= 0)
) USING DELTA
PARTITIONED BY (chain)
COMMENT 'Daily model snapshots of all chains'
