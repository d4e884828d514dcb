-- PROPERTY delta.dataSkippingNumIndexedCols = 0
-- What an arm of a simulated experiment showed, as its ranker learns from it, with what came of it.
CREATE TABLE IF NOT EXISTS {table} (
  impression_id STRING NOT NULL COMMENT 'Request and number of the candidate within it',
  user_id STRING NOT NULL COMMENT 'As in impressions',
  item_id STRING NOT NULL COMMENT 'As in impressions',
  position INT NOT NULL COMMENT 'Place in the request, 1 is the first',
  explored BOOLEAN NOT NULL COMMENT 'Chosen at random, not by the ranker',
  user_fold INT NOT NULL COMMENT 'Fold of the user, by hash',
  user_bucket INT COMMENT 'Part of the users by the same hash, as in training_rows',
  {label_columns},
  {row_columns},
  {count_columns},
  history_clicks BINARY NOT NULL COMMENT 'Empty places: the ranker has no histories',
  history_skips BINARY NOT NULL COMMENT 'Empty places',
  vector BINARY COMMENT 'What the arm reads beside the features of all: float32, little endian',
  click_probability DOUBLE NOT NULL COMMENT 'p* at the position where it was shown',
  clicked BOOLEAN NOT NULL COMMENT 'Whatever the labels of the ranker are',
  was_read BOOLEAN NOT NULL COMMENT 'Clicked and read',
  engaged BOOLEAN NOT NULL COMMENT 'Read, and liked, shared or commented',
  time_spent_ms INT NOT NULL COMMENT 'Milliseconds',
  advertiser_value_micros BIGINT NOT NULL COMMENT 'Bid of a clicked advertisement, millionths',
  cost_micros BIGINT NOT NULL COMMENT 'What was paid, millionths',
  lis_fingerprint STRING NOT NULL COMMENT 'Fingerprint of the day and all before it',
  experiment STRING NOT NULL COMMENT 'Name of the experiment',
  date DATE NOT NULL COMMENT 'Day',
  arm STRING NOT NULL COMMENT 'Name of the arm',
  CONSTRAINT position_is_positive CHECK (position >= 1)
) USING DELTA
PARTITIONED BY (experiment, date, arm)
COMMENT 'Impressions of simulated experiments'
