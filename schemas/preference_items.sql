-- PROPERTY delta.dataSkippingNumIndexedCols = 0
-- It is read by whole partitions: statistics of its files would only cost time.
-- Items that an encoder is aligned on, with their targets.
CREATE TABLE IF NOT EXISTS {table} (
  item_id STRING NOT NULL COMMENT 'As in items',
  target BINARY NOT NULL COMMENT 'float32, little endian: the whitened ID vector',
  split STRING NOT NULL COMMENT 'train, validation; left_out: born as late as validation items, and a near-duplicate of an older item',
  born_date DATE NOT NULL COMMENT 'As in items; the first day of impressions where the source does not say',
  duplicate_of STRING NOT NULL COMMENT 'The smallest item_id among its near-duplicates; its own where it has none',
  keep_threshold DOUBLE NOT NULL COMMENT 'The item is kept when t is above it (MetaCLIP)',
  update_count BIGINT NOT NULL COMMENT 'Training examples of the item up to the table that targets come from',
  source_chain STRING NOT NULL COMMENT 'Training history that the vectors come from',
  source_date DATE NOT NULL COMMENT 'Last day of data that the vectors have seen',
  lis_fingerprint STRING NOT NULL COMMENT 'Fingerprint of the partition',
  name STRING NOT NULL COMMENT 'preference.name',
  CONSTRAINT target_is_float32 CHECK (octet_length(target) > 0 AND octet_length(target) % 4 = 0),
  CONSTRAINT split_is_known CHECK (split IN ('train', 'validation', 'left_out'))
) USING DELTA
PARTITIONED BY (name)
COMMENT 'Preference data: items, targets and their split'
