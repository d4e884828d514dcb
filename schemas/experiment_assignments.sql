-- Which arm a user was given.
CREATE TABLE IF NOT EXISTS {table} (
  user_id STRING NOT NULL COMMENT 'As in the table that users were assigned from',
  arm STRING NOT NULL COMMENT 'Name of the arm; users in none have no row',
  entered DATE NOT NULL COMMENT 'First day of the experiment',
  lis_fingerprint STRING NOT NULL COMMENT 'Fingerprint of the partition',
  experiment STRING NOT NULL COMMENT 'Name of the experiment'
) USING DELTA
PARTITIONED BY (experiment)
COMMENT 'Users of experiments by arm'
