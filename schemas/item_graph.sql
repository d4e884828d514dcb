-- PROPERTY delta.dataSkippingNumIndexedCols = 0
-- It is read by whole partitions: statistics of its files would only cost time.
-- The most similar items of one item, as of a day.
CREATE TABLE IF NOT EXISTS {table} (
  item_id STRING NOT NULL COMMENT 'As in impressions',
  neighbours ARRAY<STRUCT<item_id: STRING, score: DOUBLE, common_users: INT>> NOT NULL COMMENT 'Best first; ties by item_id',
  kind STRING NOT NULL COMMENT 'swing or cosine',
  first_date DATE NOT NULL COMMENT 'First day of clicks that went in',
  source_date DATE NOT NULL COMMENT 'Last day of clicks that went in: the day before date',
  held_out_fold INT NOT NULL COMMENT 'Fold of users whose clicks from held_out_from on were left out; -1 where none',
  held_out_from DATE COMMENT 'T of the measurement that the fold is held out for; null where none is',
  lis_fingerprint STRING NOT NULL COMMENT 'Fingerprint of the partition',
  graph STRING NOT NULL COMMENT 'Name in the configuration|first day|held-out fold',
  date DATE NOT NULL COMMENT 'As of: clicks of earlier days only',
  CONSTRAINT clicks_are_from_before CHECK (source_date < date)
) USING DELTA
PARTITIONED BY (graph, date)
COMMENT 'Graphs of similar items: Swing, or the cosine of ItemCF'
