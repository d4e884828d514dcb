-- PROPERTY delta.dataSkippingNumIndexedCols = 0
-- What the nested ladder says of an encoder: how much of what the future would give its representation gives.
CREATE TABLE IF NOT EXISTS {table} (
  row_id STRING NOT NULL COMMENT 'Fingerprint of the measurements that it is made of: merged when not there',
  run_name STRING NOT NULL COMMENT 'Name of the configuration',
  config_fingerprint STRING NOT NULL COMMENT 'Of all choices',
  evaluated_date DATE NOT NULL COMMENT 'T',
  horizon_days INT NOT NULL COMMENT 'n',
  stratum STRING NOT NULL COMMENT 'all, or a stratum of the items at T',
  seed STRING NOT NULL COMMENT 'Training seed',
  eta DOUBLE COMMENT 'AIS / LIS on the ladder: aligned over honest, both over noise; null where the interval of LIS touches 0',
  eta_ci_low DOUBLE COMMENT '95 % interval',
  eta_ci_high DOUBLE COMMENT '95 % interval',
  efficiency DOUBLE COMMENT '(aligned - unaligned) / (content - unaligned); null where the interval of what is reachable touches 0',
  efficiency_ci_low DOUBLE COMMENT '95 % interval',
  efficiency_ci_high DOUBLE COMMENT '95 % interval',
  created_ts TIMESTAMP NOT NULL COMMENT 'When it was measured'
) USING DELTA
COMMENT 'Utilisation and efficiency of alignment, by the nested ladder'
