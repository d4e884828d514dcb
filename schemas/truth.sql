-- What the simulated world knows of an impression; read only to measure, and to build the leak `planted`.
CREATE TABLE IF NOT EXISTS {table} (
  impression_id STRING NOT NULL COMMENT 'As in impressions',
  user_id STRING NOT NULL COMMENT 'As in impressions',
  item_id STRING NOT NULL COMMENT 'As in impressions',
  scenario STRING NOT NULL COMMENT 'As in impressions',
  click_probability DOUBLE NOT NULL COMMENT 'p*: the probability of the click that was then drawn',
  clicked BOOLEAN NOT NULL COMMENT 'The click',
  was_read BOOLEAN NOT NULL COMMENT 'Clicked, and read',
  engaged BOOLEAN NOT NULL COMMENT 'Read, and liked, shared or commented',
  time_spent_ms INT NOT NULL COMMENT 'Milliseconds that the user looked at the item',
  advertiser_value_micros BIGINT NOT NULL COMMENT 'Bid of a clicked advertisement, in millionths of the currency',
  cost_micros BIGINT NOT NULL COMMENT 'What the advertiser paid for the click, .6 to .95 of the bid, likewise',
  lis_fingerprint STRING NOT NULL COMMENT 'Fingerprint of the partition',
  date DATE NOT NULL COMMENT 'Day of the impression',
  CONSTRAINT probability_is_one CHECK (click_probability > 0 AND click_probability < 1),
  CONSTRAINT labels_are_nested CHECK ((clicked OR NOT was_read) AND (was_read OR NOT engaged)),
  CONSTRAINT cost_is_within_the_bid CHECK (cost_micros >= 0 AND cost_micros <= advertiser_value_micros)
) USING DELTA
PARTITIONED BY (date)
COMMENT 'What the simulated world knows of its impressions'
