-- Which row of an embedding table belongs to which key. Append-only: a row never changes its meaning.
CREATE TABLE IF NOT EXISTS {table} (
  key STRING NOT NULL COMMENT 'Id of the item, user, author, ... as text',
  row INT NOT NULL COMMENT 'Row of the embedding table, from 0',
  key_hash BIGINT NOT NULL COMMENT 'xxhash64(key): a cold row is a function of it, not of its row',
  first_date DATE NOT NULL COMMENT 'Day of the first impression with the key',
  lis_fingerprint STRING NOT NULL COMMENT 'Fingerprint of the partition',
  slot STRING NOT NULL COMMENT 'Name of the embedding table',
  CONSTRAINT row_is_not_negative CHECK (row >= 0)
) USING DELTA
PARTITIONED BY (slot)
COMMENT 'Append-only vocabularies of the embedding tables'
