-- An impression as the ranker reads it, point in time.
CREATE TABLE IF NOT EXISTS {table} (
  impression_id STRING NOT NULL COMMENT 'As in impressions',
  request_ts TIMESTAMP NOT NULL COMMENT 'Instant of the request; files are sorted by (request_ts, impression_id)',
  user_id STRING NOT NULL COMMENT 'As in impressions',
  item_id STRING NOT NULL COMMENT 'As in impressions',
  user_fold INT NOT NULL COMMENT 'Fold of the user, by hash; honest chains never train on the evaluated fold',
  user_bucket INT COMMENT 'Part of the users by the same hash, of which the folds of every number of folds are made',
  {label_columns},
  {row_columns},
  {count_columns},
  history_clicks BINARY NOT NULL COMMENT 'Last K clicked items strictly before request_ts, newest first: int32 rows of the item vocabulary, little endian, -1 where there are fewer',
  history_skips BINARY NOT NULL COMMENT 'Last K items shown and not clicked, likewise',
  lis_fingerprint STRING NOT NULL COMMENT 'Fingerprint of the partition',
  date DATE NOT NULL COMMENT 'Day of request_ts in the configured zone',
  CONSTRAINT histories_are_of_one_length CHECK (octet_length(history_clicks) = octet_length(history_skips)),
  CONSTRAINT user_fold_is_not_negative CHECK (user_fold >= 0)
) USING DELTA
PARTITIONED BY (date)
COMMENT 'Training rows with point-in-time histories'
