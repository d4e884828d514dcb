-- KEY (slot, chain, snapshot_date)
-- An item's (or another slot's) vector in the model of a day.
CREATE TABLE IF NOT EXISTS {table} (
  item_id STRING NOT NULL COMMENT 'Key of the row in the slot vocabulary',
  row INT NOT NULL COMMENT 'Row of the embedding table',
  vector BINARY NOT NULL COMMENT 'float32, little endian',
  update_count BIGINT NOT NULL COMMENT 'Training examples so far with the key as target',
  touch_count BIGINT NOT NULL COMMENT 'Steps so far in which any gradient reached the row',
  last_update_date DATE COMMENT 'Last day of data that reached the row',
  is_base BOOLEAN NOT NULL COMMENT 'true: the partition holds every row; false: those touched that day',
  lis_fingerprint STRING NOT NULL COMMENT 'Fingerprint of the chain day',
  slot STRING NOT NULL COMMENT 'Name of the embedding table',
  chain STRING NOT NULL COMMENT 'Training history',
  snapshot_date DATE NOT NULL COMMENT 't of M_t: trained on the days before t',
  CONSTRAINT counts_are_ordered CHECK (update_count >= 0 AND touch_count >= 0),
  CONSTRAINT vector_is_float32 CHECK (octet_length(vector) > 0 AND octet_length(vector) % 4 = 0)
) USING DELTA
PARTITIONED BY (slot, chain)
COMMENT 'Daily embedding snapshots: rows touched that day, and a full base every few days; read as of a date'
