-- What one user did on one day: the outcomes that an experiment reads.
CREATE TABLE IF NOT EXISTS {table} (
  user_id STRING NOT NULL COMMENT 'As in impressions; users without an impression have no row',
  impressions BIGINT NOT NULL COMMENT 'Of scenario feed',
  clicks BIGINT NOT NULL COMMENT 'Of scenario feed',
  reads BIGINT NOT NULL COMMENT 'Clicked and read',
  engagements BIGINT NOT NULL COMMENT 'Read, and liked, shared or commented',
  time_spent_ms BIGINT NOT NULL COMMENT 'Milliseconds, over all scenarios',
  ad_impressions BIGINT NOT NULL COMMENT 'Of scenario ads',
  ad_clicks BIGINT NOT NULL COMMENT 'Of scenario ads',
  advertiser_value_micros BIGINT NOT NULL COMMENT 'Sum of the bids of clicked advertisements, millionths',
  cost_micros BIGINT NOT NULL COMMENT 'Sum of what was paid, millionths',
  lis_fingerprint STRING NOT NULL COMMENT 'Fingerprint of the partition',
  date DATE NOT NULL COMMENT 'Day',
  CONSTRAINT counts_are_ordered CHECK (clicks <= impressions AND reads <= clicks AND engagements <= reads)
) USING DELTA
PARTITIONED BY (date)
COMMENT 'Outcomes by user and day'
