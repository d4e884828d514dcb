-- PROPERTY delta.dataSkippingNumIndexedCols = 0
-- It is read by whole partitions: statistics of its files would only cost time.
-- One impression scored by one arm.
CREATE TABLE IF NOT EXISTS {table} (
  arm STRING NOT NULL COMMENT 'Which model and which table: protocol|variant|horizon|scope|held-out fold, and the leak',
  fold INT NOT NULL COMMENT 'Fold of the user',
  bucket INT COMMENT 'Bucket of the user, as in training_rows',
  impression_id STRING NOT NULL COMMENT 'As in impressions',
  user_id STRING NOT NULL COMMENT 'As in impressions',
  slot_row INT NOT NULL COMMENT 'Row in the vocabulary of the swapped table; -1 where the impression has none',
  label TINYINT NOT NULL COMMENT '0 or 1',
  logit FLOAT NOT NULL COMMENT 'Logit of the arm, never a probability: a sigmoid saturates into ties',
  lis_fingerprint STRING NOT NULL COMMENT 'Fingerprint of the partition',
  step STRING NOT NULL COMMENT 'Which step scored: score (substitution) or append (arms retrained)',
  seed INT NOT NULL COMMENT 'Training seed',
  date DATE NOT NULL COMMENT 'T',
  CONSTRAINT label_is_binary CHECK (label IN (0, 1)),
  CONSTRAINT logit_is_a_number CHECK (NOT isnan(logit))
) USING DELTA
PARTITIONED BY (step, seed, date)
COMMENT 'Logits of all arms of an evaluation'
