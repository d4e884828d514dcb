-- PROPERTY delta.dataSkippingNumIndexedCols = 0
-- One column of a feature table that was audited.
CREATE TABLE IF NOT EXISTS {table} (
  row_id STRING NOT NULL COMMENT 'Fingerprint of what was audited on which versions: merged when not there',
  run_name STRING NOT NULL COMMENT 'Name of the configuration',
  audited_table STRING NOT NULL COMMENT 'Path or name of the feature table',
  audited_version BIGINT COMMENT 'Its version; null where it is not in Delta',
  impressions_version BIGINT NOT NULL COMMENT 'Version of impressions',
  audited_column STRING NOT NULL COMMENT 'The column',
  place INT NOT NULL COMMENT 'Rank in the report: accused first, then by what it adds',
  verdict STRING NOT NULL COMMENT 'leak, suspect or no sign',
  reasons STRING NOT NULL COMMENT 'JSON list, in words',
  key STRING NOT NULL COMMENT 'user or item: whose rows were followed in time',
  coverage DOUBLE NOT NULL COMMENT 'Share of the impressions that have a value',
  dated_after DOUBLE NOT NULL COMMENT 'Share of the impressions whose row says that it holds data from after them',
  auc_alone DOUBLE COMMENT 'AUC of the column by itself, in bins, cross-fitted',
  added_by_request DOUBLE COMMENT 'AUC of value and change since the request before, less that of value and change until the next',
  added_by_request_ci_low DOUBLE COMMENT '95 % interval, jackknife over blocks of keys or days',
  added_by_request_ci_high DOUBLE COMMENT '95 % interval',
  added_by_day DOUBLE COMMENT 'The same with the day before and the day after',
  added_by_day_ci_low DOUBLE COMMENT '95 % interval',
  added_by_day_ci_high DOUBLE COMMENT '95 % interval',
  excess DOUBLE COMMENT 'Share of the variance of later labels that it explains beyond what can be known of them',
  excess_ci_low DOUBLE COMMENT '95 % interval, clustered by key',
  excess_ci_high DOUBLE COMMENT '95 % interval',
  excess_window STRING COMMENT 'How far the later labels reach',
  tests INT NOT NULL COMMENT 'Tests of the whole audit, which share a 5 % chance of a false accusation',
  created_ts TIMESTAMP NOT NULL COMMENT 'When it was audited'
) USING DELTA
COMMENT 'Columns of feature tables, and whether they know what came after the impression'
