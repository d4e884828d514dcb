-- One item shown to one user.
CREATE TABLE IF NOT EXISTS {table} (
  impression_id STRING NOT NULL COMMENT 'Unique id; derived from (user, item, time) where the source has none',
  request_id STRING NOT NULL COMMENT 'One request shows several items; derived from (user, minute) where the source has none',
  request_ts TIMESTAMP NOT NULL COMMENT 'Instant of the request',
  scenario STRING NOT NULL COMMENT 'Each scenario has its own ranker and encoder',
  user_id STRING NOT NULL COMMENT 'As in the source, as text',
  item_id STRING NOT NULL COMMENT 'As in the source, as text',
  position INT COMMENT 'Place in the request, 1 is the first; null where unknown',
  {label_columns},
  {context_columns},
  lis_fingerprint STRING NOT NULL COMMENT 'Fingerprint of the partition: config, step version and input',
  date DATE NOT NULL COMMENT 'Day of request_ts in the configured zone',
  CONSTRAINT position_is_positive CHECK (position IS NULL OR position >= 1)
) USING DELTA
PARTITIONED BY (date)
COMMENT 'Impressions with their labels and context'
