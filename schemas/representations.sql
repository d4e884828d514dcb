-- PROPERTY delta.dataSkippingNumIndexedCols = 0
-- What an encoder says of each item: one more feature of a ranker, of fewer than 100 numbers.
CREATE TABLE IF NOT EXISTS {table} (
  item_id STRING NOT NULL COMMENT 'As in items',
  vector BINARY NOT NULL COMMENT 'float32, little endian',
  content_hash BIGINT NOT NULL COMMENT 'xxhash64 of title and image: an item that shows something else is encoded anew',
  encoder_sha256 STRING NOT NULL COMMENT 'As in encoders',
  lis_fingerprint STRING NOT NULL COMMENT 'Fingerprint of the partition: the encoder and the items',
  encoder STRING NOT NULL COMMENT 'encoders.name',
  CONSTRAINT vector_is_float32 CHECK (octet_length(vector) > 0 AND octet_length(vector) % 4 = 0),
  CONSTRAINT vector_is_below_100 CHECK (octet_length(vector) < 400)
) USING DELTA
PARTITIONED BY (encoder)
COMMENT 'Representations of items'
