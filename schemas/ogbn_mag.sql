-- ogbn-mag (https://ogb.stanford.edu/docs/nodeprop/): 736,389 papers, 1,134,649 authors, 8,740 institutions and 59,965 fields
-- of study; 21,111,007 edges of four types. Only papers have features.
--
-- Lines that start with --| load the files, in mag/raw. SET force_compression keeps the features uncompressed, which
-- makes reading them three times as fast.

CREATE TABLE paper (
  id BIGINT NOT NULL,
  x FLOAT[128] NOT NULL,  -- mean of the word embeddings of title and abstract
  year BIGINT NOT NULL,
  y BIGINT NOT NULL       -- 349 venues
);
--| SET force_compression = 'uncompressed';
--| INSERT INTO paper
--|   SELECT row_number() OVER () - 1, f.x, t.column0, l.column0
--|   FROM (SELECT list_value(*COLUMNS(*))::FLOAT[128] AS x FROM read_csv('node-feat/paper/node-feat.csv.gz', header = false)) f
--|   POSITIONAL JOIN read_csv('node-feat/paper/node_year.csv.gz', header = false) t
--|   POSITIONAL JOIN read_csv('node-label/paper/node-label.csv.gz', header = false) l;
--| CHECKPOINT;
--| RESET force_compression;

CREATE TABLE author (id BIGINT NOT NULL);
--| INSERT INTO author SELECT unnest(range(author)) FROM read_csv('num-node-dict.csv.gz');

CREATE TABLE institution (id BIGINT NOT NULL);
--| INSERT INTO institution SELECT unnest(range(institution)) FROM read_csv('num-node-dict.csv.gz');

CREATE TABLE field_of_study (id BIGINT NOT NULL);
--| INSERT INTO field_of_study SELECT unnest(range(field_of_study)) FROM read_csv('num-node-dict.csv.gz');

CREATE TABLE affiliated_with (author_id BIGINT NOT NULL, institution_id BIGINT NOT NULL);
--| COPY affiliated_with FROM 'relations/author___affiliated_with___institution/edge.csv.gz' (HEADER false);

CREATE TABLE writes (author_id BIGINT NOT NULL, paper_id BIGINT NOT NULL);
--| COPY writes FROM 'relations/author___writes___paper/edge.csv.gz' (HEADER false);

CREATE TABLE cites (src BIGINT NOT NULL, dst BIGINT NOT NULL);
--| COPY cites FROM 'relations/paper___cites___paper/edge.csv.gz' (HEADER false);

CREATE TABLE has_topic (paper_id BIGINT NOT NULL, field_of_study_id BIGINT NOT NULL);
--| COPY has_topic FROM 'relations/paper___has_topic___field_of_study/edge.csv.gz' (HEADER false);

-- Which papers to train on: loader input ('paper', ids of this table).
CREATE TABLE split (
  id BIGINT NOT NULL,
  part VARCHAR NOT NULL
);
--| INSERT INTO split SELECT column0, 'train' FROM read_csv('../split/time/paper/train.csv.gz', header = false);
--| INSERT INTO split SELECT column0, 'valid' FROM read_csv('../split/time/paper/valid.csv.gz', header = false);
--| INSERT INTO split SELECT column0, 'test' FROM read_csv('../split/time/paper/test.csv.gz', header = false);

-- Messages flow from source to destination; the rev_ types let them flow back over the same rows.
CREATE PROPERTY GRAPH mag
  VERTEX TABLES (
    paper KEY (id) PROPERTIES (x, year, y),
    author KEY (id),
    institution KEY (id),
    field_of_study KEY (id)
  )
  EDGE TABLES (
    affiliated_with SOURCE KEY (author_id) REFERENCES author DESTINATION KEY (institution_id) REFERENCES institution,
    writes SOURCE KEY (author_id) REFERENCES author DESTINATION KEY (paper_id) REFERENCES paper,
    cites SOURCE KEY (src) REFERENCES paper DESTINATION KEY (dst) REFERENCES paper,
    has_topic SOURCE KEY (paper_id) REFERENCES paper DESTINATION KEY (field_of_study_id) REFERENCES field_of_study,
    affiliated_with SOURCE KEY (institution_id) REFERENCES institution DESTINATION KEY (author_id) REFERENCES author
      LABEL rev_affiliated_with,
    writes SOURCE KEY (paper_id) REFERENCES paper DESTINATION KEY (author_id) REFERENCES author LABEL rev_writes,
    cites SOURCE KEY (dst) REFERENCES paper DESTINATION KEY (src) REFERENCES paper LABEL rev_cites,
    has_topic SOURCE KEY (field_of_study_id) REFERENCES field_of_study DESTINATION KEY (paper_id) REFERENCES paper
      LABEL rev_has_topic
  );
