-- What the simulated world knows of an item.
CREATE TABLE IF NOT EXISTS {table} (
  item_id STRING NOT NULL COMMENT 'As in impressions',
  born_date DATE NOT NULL COMMENT 'First day on which it is shown',
  last_date DATE NOT NULL COMMENT 'Last day on which it is shown',
  popularity DOUBLE NOT NULL COMMENT 'How often it is shown against others of its age',
  is_ad BOOLEAN NOT NULL COMMENT 'Whether it is an advertisement',
  bid DOUBLE NOT NULL COMMENT 'What the advertiser offers for a click; 0 where it is no advertisement',
  factor BINARY NOT NULL COMMENT 'float32, little endian: what users like or dislike in it',
  bias DOUBLE NOT NULL COMMENT 'Click bias, logits',
  content BINARY NOT NULL COMMENT 'float32: the content latents, from which the factor is told in part',
  nuisance BINARY NOT NULL COMMENT 'float32: what title and image show beside, and what means nothing',
  duplicate_of STRING COMMENT 'The earlier item whose content it copies',
  lis_fingerprint STRING NOT NULL COMMENT 'Fingerprint of the table',
  CONSTRAINT life_is_ordered CHECK (last_date >= born_date)
) USING DELTA
COMMENT 'What the simulated world knows of its items'
