-- One step's run.
CREATE TABLE IF NOT EXISTS {table} (
  run_id STRING NOT NULL COMMENT 'One command',
  step STRING NOT NULL COMMENT 'Name of the step',
  config_fingerprint STRING NOT NULL COMMENT 'Fingerprint of the configuration',
  outcome STRING NOT NULL COMMENT 'done, nothing to do, refused or failed',
  partitions_written BIGINT NOT NULL COMMENT 'New or replaced',
  partitions_skipped BIGINT NOT NULL COMMENT 'Already there with the same fingerprint',
  rows_in BIGINT NOT NULL COMMENT 'Rows read',
  rows_out BIGINT NOT NULL COMMENT 'Rows written',
  rows_quarantined BIGINT NOT NULL COMMENT 'Rows rejected',
  seconds DOUBLE NOT NULL COMMENT 'Wall clock',
  inputs STRING NOT NULL COMMENT 'JSON: table -> version that was read; of ingest also the state of the source',
  outputs STRING NOT NULL COMMENT 'JSON: table -> version that was left',
  message STRING COMMENT 'What went wrong',
  finished_ts TIMESTAMP NOT NULL COMMENT 'When it ended'
) USING DELTA
COMMENT 'What each step read, wrote and took'
