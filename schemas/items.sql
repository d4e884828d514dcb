-- What is known of an item beside its impressions.
CREATE TABLE IF NOT EXISTS {table} (
  item_id STRING NOT NULL COMMENT 'As in impressions',
  born_date DATE COMMENT 'First day of the item; null where the source does not say',
  title STRING COMMENT 'Text shown with the item',
  image BINARY COMMENT 'Encoded image (PNG or JPEG)',
  tags STRING COMMENT 'Comma separated, as in the source',
  author_id STRING COMMENT 'Who made it',
  {attribute_columns},
  lis_fingerprint STRING NOT NULL COMMENT 'Fingerprint of the table: config, step version and input'
) USING DELTA
COMMENT 'Items'
