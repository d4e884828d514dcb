-- PROPERTY delta.dataSkippingNumIndexedCols = 0
-- It is read by whole partitions: statistics of its files would only cost time.
-- What one user adds to one AUC, as integers; every confidence interval comes from here.
CREATE TABLE IF NOT EXISTS {table} (
  user_id STRING NOT NULL COMMENT 'As in impressions',
  arm STRING NOT NULL COMMENT 'As in scores; user_part or item_part before it: that part of its change of logit, added to the control',
  fold INT NOT NULL COMMENT 'Fold of the user; -1: the ranking over all users',
  stratum STRING NOT NULL COMMENT 'all, a stratum of the items, or several_rows: of users with at least two impressions on the day',
  positives BIGINT NOT NULL COMMENT 'Positive impressions of the user',
  negatives BIGINT NOT NULL COMMENT 'Negative impressions of the user',
  u2_positives BIGINT NOT NULL COMMENT 'Sum over the positives of 2 x negatives below + ties',
  u2_negatives BIGINT NOT NULL COMMENT 'Sum over the negatives of 2 x positives above + ties',
  u2_within_user BIGINT NOT NULL COMMENT 'The same among the impressions of the user, for GAUC and the AUC within users',
  log_loss_units BIGINT NOT NULL COMMENT 'Sum of log loss, nats x 2^32',
  probability_units BIGINT NOT NULL COMMENT 'Sum of predicted probabilities x 2^32',
  u2_within_request BIGINT COMMENT 'As u2_within_user, among the impressions of one request; 0 in other strata than several_rows',
  pairs_within_request BIGINT COMMENT 'Sum over the requests of positives x negatives; 0 where no request is known',
  lis_fingerprint STRING NOT NULL COMMENT 'Fingerprint of the partition',
  seed INT NOT NULL COMMENT 'Training seed',
  date DATE NOT NULL COMMENT 'T',
  CONSTRAINT counts_are_not_negative CHECK (positives >= 0 AND negatives >= 0)
) USING DELTA
PARTITIONED BY (seed, date)
COMMENT 'Influence of each user on each AUC'
