-- KEY (name)
-- PROPERTY delta.dataSkippingNumIndexedCols = 0
-- Encoders of items: where each lies, what it was aligned on, how well it finds items it was not aligned on.
CREATE TABLE IF NOT EXISTS {table} (
  path STRING NOT NULL COMMENT 'Folder of the encoder: model, processor, head',
  sha256 STRING NOT NULL COMMENT 'Hash of its files, in the order of their names',
  kind STRING NOT NULL COMMENT 'internvl, frozen',
  objective STRING NOT NULL COMMENT 'contrastive, cosine, mse; none: not aligned',
  targets STRING NOT NULL COMMENT 'own; random: those of other items, a control',
  dimension INT NOT NULL COMMENT 'Numbers in a vector',
  preference STRING NOT NULL COMMENT 'Name of the preference items',
  train_items BIGINT NOT NULL COMMENT 'Items that it was aligned on',
  gallery BIGINT NOT NULL COMMENT 'Validation items, all of which are searched',
  steps INT NOT NULL COMMENT 'Steps trained',
  best_step INT NOT NULL COMMENT 'The step whose state was kept: the first with the highest mean recall; with random targets the last',
  mean_recall DOUBLE NOT NULL COMMENT 'On validation items: mean of recall at 1, 5, 10, content to ID and ID to content',
  chance DOUBLE NOT NULL COMMENT 'What a random order reaches',
  samples_per_second DOUBLE COMMENT 'Of training steps, all ranks together; null where it was not trained',
  curve STRING NOT NULL COMMENT 'JSON: each evaluation',
  created_ts TIMESTAMP NOT NULL COMMENT 'When it was written',
  lis_fingerprint STRING NOT NULL COMMENT 'Fingerprint of settings and preference items',
  name STRING NOT NULL COMMENT 'encoders.name',
  CONSTRAINT dimension_is_below_100 CHECK (dimension > 0 AND dimension < 100),
  CONSTRAINT recall_is_a_share CHECK (mean_recall BETWEEN 0 AND 1)
) USING DELTA
PARTITIONED BY (name)
COMMENT 'Encoders of items'
