-- How much of what users like the content of a simulated world tells: shares of the variance of the items' factors.
CREATE TABLE IF NOT EXISTS {table} (
  items BIGINT NOT NULL COMMENT 'How many items were looked at',
  signal DOUBLE NOT NULL COMMENT 'Linear in the signal that content carries: the bound of any encoder',
  latents DOUBLE NOT NULL COMMENT 'Linear in the content latents',
  features DOUBLE COMMENT 'Linear in words and mean colours, the factors known; null where nothing is rendered',
  components DOUBLE COMMENT 'Linear in their first principal components, found without the factors: no alignment',
  lis_fingerprint STRING NOT NULL COMMENT 'Fingerprint of the table',
  CONSTRAINT shares_of_variance CHECK (signal <= 1 AND latents <= 1)
) USING DELTA
COMMENT 'What an encoder of titles and images can reach at most, and what needs no alignment'
