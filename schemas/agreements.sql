-- PROPERTY delta.dataSkippingNumIndexedCols = 0
-- Whether LIS told beforehand what encoders got from preference data: LIS against AIS over several data sets.
CREATE TABLE IF NOT EXISTS {table} (
  row_id STRING NOT NULL COMMENT 'Fingerprint of what was compared on what: merged when not there',
  run_name STRING NOT NULL COMMENT 'Name of the configuration',
  config_fingerprint STRING NOT NULL COMMENT 'Of all choices',
  data_sets INT NOT NULL COMMENT 'Leaks with an honest LIS and an encoder that was aligned to them',
  outcomes STRING NOT NULL COMMENT 'JSON list: of each its lis, lis_unseen (on the impressions of ais), lis_content and ais with standard errors, and is_noise',
  agreement STRING NOT NULL COMMENT 'JSON list: measure, score, value, ci_low, ci_high, pairs that AIS can tell apart',
  created_ts TIMESTAMP NOT NULL COMMENT 'When it was compared',
  CONSTRAINT several_data_sets CHECK (data_sets >= 3)
) USING DELTA
COMMENT 'LIS against AIS'
