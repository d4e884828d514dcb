-- How often each value of a counted feature was shown and was positive, before each day and on it.
CREATE TABLE IF NOT EXISTS {table} (
  feature STRING NOT NULL COMMENT 'Counted feature; all: every impression of the scenario, in row 0',
  row INT NOT NULL COMMENT 'Row of the value in the vocabulary of the feature',
  impressions_before BIGINT NOT NULL COMMENT 'Impressions with the value on all days before date',
  positives_before BIGINT NOT NULL COMMENT 'Positive ones among them',
  impressions BIGINT NOT NULL COMMENT 'Impressions with the value on date; 0 in a row that only keeps the counts at hand',
  positives BIGINT NOT NULL COMMENT 'Positive ones among them: outcomes of the day itself, which no row of the day may know',
  lis_fingerprint STRING NOT NULL COMMENT 'Fingerprint of the partition',
  date DATE NOT NULL COMMENT 'Day',
  CONSTRAINT positives_are_impressions CHECK (positives <= impressions AND positives_before <= impressions_before)
) USING DELTA
PARTITIONED BY (date)
COMMENT 'Running counts of the values of features, a row for each value that a day shows'
