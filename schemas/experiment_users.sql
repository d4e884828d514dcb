-- What one user of a simulated experiment did on one day, and on the days before it.
CREATE TABLE IF NOT EXISTS {table} (
  user_id STRING NOT NULL COMMENT 'As in impressions',
  impressions BIGINT NOT NULL COMMENT 'Shown by the arm; before the experiment, by the world',
  clicks BIGINT NOT NULL COMMENT 'Of them clicked',
  reads BIGINT NOT NULL COMMENT 'Clicked and read',
  engagements BIGINT NOT NULL COMMENT 'Read, and liked, shared or commented',
  time_spent_ms BIGINT NOT NULL COMMENT 'Milliseconds',
  advertiser_value_micros BIGINT NOT NULL COMMENT 'Sum of the bids of clicked advertisements, millionths',
  cost_micros BIGINT NOT NULL COMMENT 'Sum of what was paid, millionths',
  satisfaction DOUBLE NOT NULL COMMENT 'Reads an impression above what the world gives, smoothed over the days that the user came',
  lis_fingerprint STRING NOT NULL COMMENT 'Fingerprint of the day and all before it',
  experiment STRING NOT NULL COMMENT 'Name of the experiment',
  date DATE NOT NULL COMMENT 'Day',
  CONSTRAINT counts_are_ordered CHECK (clicks <= impressions AND reads <= clicks AND engagements <= reads)
) USING DELTA
PARTITIONED BY (experiment, date)
COMMENT 'Outcomes of simulated experiments by user and day'
