-- TabFormer (Padhi et al., Tabular Transformers for Modeling Multivariate Time Series, 2021; https://github.com/IBM/TabFormer):
-- 24 million synthetic card transactions of 2,000 users at 100,000 merchants, a few of them fraud.
--
-- A card's key is composite: the user and the number of the card among the user's. A transaction is an edge, from the card to
-- the merchant, and the class to predict is one of its columns.
--
-- Lines that start with --| load card_transaction.v1.csv.

--| CREATE TEMP TABLE raw AS FROM read_csv('card_transaction.v1.csv', header = true, all_varchar = true);

CREATE TABLE "user" (
  id BIGINT PRIMARY KEY
);
--| INSERT INTO "user" SELECT DISTINCT "User"::BIGINT FROM raw ORDER BY ALL;

CREATE TABLE card (
  user_id BIGINT NOT NULL,
  number INTEGER NOT NULL,
  PRIMARY KEY (user_id, number)
);
--| INSERT INTO card SELECT DISTINCT "User"::BIGINT, "Card"::INTEGER FROM raw ORDER BY ALL;

CREATE TABLE merchant (
  id BIGINT PRIMARY KEY,  -- a hash of the merchant's name
  city VARCHAR,
  state VARCHAR,          -- NULL: bought online
  online BOOLEAN NOT NULL
);
--| INSERT INTO merchant
--|   SELECT "Merchant Name"::BIGINT, mode(trim("Merchant City")), mode("Merchant State"),
--|          bool_and(trim("Merchant City") = 'ONLINE')
--|   FROM raw GROUP BY ALL ORDER BY ALL;

CREATE TABLE transaction (
  user_id BIGINT NOT NULL,
  card_number INTEGER NOT NULL,
  merchant_id BIGINT NOT NULL,
  made_at TIMESTAMP NOT NULL,  -- served as int64, microseconds since 1970-01-01
  amount FLOAT NOT NULL,       -- US dollars; negative: a refund
  method ENUM ('Swipe Transaction', 'Chip Transaction', 'Online Transaction') NOT NULL,
  mcc SMALLINT NOT NULL,       -- merchant category code
  failed BOOLEAN NOT NULL,     -- some error, such as a wrong PIN
  is_fraud BOOLEAN NOT NULL
);
--| INSERT INTO transaction
--|   SELECT "User", "Card", "Merchant Name",
--|          strptime(concat_ws(' ', "Year", "Month", "Day", "Time"), '%Y %m %d %H:%M') AS made_at,
--|          replace("Amount", '$', ''), "Use Chip", "MCC", coalesce("Errors?", '') <> '', "Is Fraud?" = 'Yes'
--|   FROM raw ORDER BY made_at;
--| DROP TABLE raw;

CREATE PROPERTY GRAPH tabformer
  VERTEX TABLES (
    "user" KEY (id),
    card KEY (user_id, number),
    merchant KEY (id) PROPERTIES (online)
  )
  EDGE TABLES (
    card SOURCE KEY (user_id) REFERENCES "user" (id) DESTINATION KEY (user_id, number) REFERENCES card (user_id, number)
      LABEL holds NO PROPERTIES,
    transaction SOURCE KEY (user_id, card_number) REFERENCES card (user_id, number)
                DESTINATION KEY (merchant_id) REFERENCES merchant (id)
      LABEL pays PROPERTIES (made_at, amount, method, mcc, failed, is_fraud),
    transaction SOURCE KEY (merchant_id) REFERENCES merchant (id)
                DESTINATION KEY (user_id, card_number) REFERENCES card (user_id, number)
      LABEL paid_by PROPERTIES (made_at, amount, method, mcc, failed, is_fraud)
  );
