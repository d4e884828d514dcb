-- What the feature rows of one leak cost when they were made.
CREATE TABLE IF NOT EXISTS {table} (
  cost_id STRING NOT NULL COMMENT 'Fingerprint of the partitions and of when they were made',
  leak STRING NOT NULL COMMENT 'As in leaked_features',
  evaluated_date DATE NOT NULL COMMENT 'T',
  feature_table STRING NOT NULL COMMENT 'leaked_features or control_features',
  row_count BIGINT NOT NULL COMMENT 'Rows written',
  bytes BIGINT NOT NULL COMMENT 'Bytes of the files written',
  seconds DOUBLE NOT NULL COMMENT 'From the first look at the source to the commit',
  made_ts TIMESTAMP NOT NULL COMMENT 'When'
) USING DELTA
COMMENT 'Cost of the feature rows of each leak'
