-- PROPERTY delta.dataSkippingNumIndexedCols = 0
-- It is read by whole partitions: statistics of its files would only cost time.
-- The vector that an impression's item will have later, or the clicks after the impression.
CREATE TABLE IF NOT EXISTS {table} (
  impression_id STRING NOT NULL COMMENT 'As in impressions',
  item_id STRING NOT NULL COMMENT 'As in impressions',
  row INT NOT NULL COMMENT 'Row of the item in its embedding table',
  variant STRING NOT NULL COMMENT 'naive, naive_matched, honest, skip_own_t, skip_t, label_shuffled, replay, other_folds, backward; of leaks that are one more feature their own',
  horizon_days INT NOT NULL COMMENT 'n of E_{T+n}; negative for backward snapshots',
  chain STRING NOT NULL COMMENT 'The chain that the snapshot comes from; empty where the leak is no table',
  fold INT NOT NULL COMMENT 'Fold of the user of the impression',
  held_out_fold INT NOT NULL COMMENT 'Fold that the chain never trained on from its fork on; -1 where none',
  leaked_vector BINARY COMMENT 'float32, little endian; null in the layout reference and where there is none; where ids stand, what stands beside their mean',
  leaked_ids BINARY COMMENT 'int32, little endian: rows of items whose vectors in E_T are averaged, -1 where there are fewer; null where none are looked up',
  present BOOLEAN NOT NULL COMMENT 'false: the snapshot has no such row, or there is no such click or neighbour',
  snapshot_date DATE NOT NULL COMMENT 'T + n of the snapshot; of clicks the day after the last that counts',
  source_date DATE COMMENT 'Last day of data that went into the snapshot; null where present is false',
  last_update_date DATE COMMENT 'Last day of data that reached the row; null where present is false',
  lis_fingerprint STRING NOT NULL COMMENT 'Fingerprint of the partition',
  leak STRING NOT NULL COMMENT 'id_embedding (substitution), or the name of a leak of protocol append',
  evaluated_date DATE NOT NULL COMMENT 'T',
  date DATE NOT NULL COMMENT 'Day of the impression',
  CONSTRAINT source_is_from_the_future CHECK (present = false OR source_date >= date)
) USING DELTA
PARTITIONED BY (leak, evaluated_date, date)
COMMENT 'Impressions joined to information from after them: for measurements only'
