-- ogbn-products (https://ogb.stanford.edu/docs/nodeprop/): 2,449,029 Amazon products, 61,859,140 pairs bought together.
--
-- Each pair is in the file once and is loaded in both directions, as OGB's own loader does (add_inverse_edge).
-- The key is 0…N-1 and the rows are in its order, so node ids are keys and no map table is needed.
--
-- Lines that start with --| load the files, in products/raw. SET force_compression keeps the features uncompressed,
-- which makes reading them three times as fast.

CREATE TABLE product (
  id BIGINT NOT NULL,
  x FLOAT[100] NOT NULL,  -- principal components of a bag of words of the description
  y BIGINT NOT NULL       -- 47 categories
);
--| SET force_compression = 'uncompressed';
--| INSERT INTO product
--|   SELECT row_number() OVER () - 1, f.x, l.column0
--|   FROM (SELECT list_value(*COLUMNS(*))::FLOAT[100] AS x FROM read_csv('node-feat.csv.gz', header = false)) f
--|   POSITIONAL JOIN read_csv('node-label.csv.gz', header = false) l;
--| CHECKPOINT;
--| RESET force_compression;

CREATE TABLE bought_with (
  src BIGINT NOT NULL,
  dst BIGINT NOT NULL
);
--| INSERT INTO bought_with
--|   WITH edge AS MATERIALIZED (SELECT column0 AS a, column1 AS b FROM read_csv('edge.csv.gz', header = false))
--|   SELECT a, b FROM edge UNION ALL SELECT b, a FROM edge;

-- Which products to train on: loader input ('product', ids of this table).
CREATE TABLE split (
  id BIGINT NOT NULL,
  part VARCHAR NOT NULL
);
--| INSERT INTO split SELECT column0, 'train' FROM read_csv('../split/sales_ranking/train.csv.gz', header = false);
--| INSERT INTO split SELECT column0, 'valid' FROM read_csv('../split/sales_ranking/valid.csv.gz', header = false);
--| INSERT INTO split SELECT column0, 'test' FROM read_csv('../split/sales_ranking/test.csv.gz', header = false);

CREATE PROPERTY GRAPH products
  VERTEX TABLES (
    product KEY (id) PROPERTIES (x, y)
  )
  EDGE TABLES (
    bought_with SOURCE KEY (src) REFERENCES product (id) DESTINATION KEY (dst) REFERENCES product (id) NO PROPERTIES
  );
