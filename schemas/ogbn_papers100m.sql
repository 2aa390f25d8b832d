-- ogbn-papers100M (https://ogb.stanford.edu/docs/nodeprop/): 111,059,956 papers, 1,615,685,872 citations.
--
-- The key is 0…N-1 and the rows are in its order, so node ids are keys and no map table is needed. There is no
-- PRIMARY KEY: its index would take gigabytes, and building the graph checks the keys anyway.
--
-- examples/papers100m.py runs this file and does all that follows, in bounded memory, and trains a model.
--
-- Lines that start with --| load the files, after this in papers100M-bin/raw (npz files are zip archives of npy files):
--   unzip data.npz && unzip node-label.npz && gunzip ../split/time/*.csv.gz
--   python -c "import numpy as np
--   n = np.load('node_feat.npy', mmap_mode='r').shape[0]
--   y = np.nan_to_num(np.load('node_label.npy').reshape(-1), nan=-1)
--   np.save('ids.npy', np.arange(n)); np.save('y.npy', y.astype('int64'))
--   np.save('year.npy', np.load('node_year.npy').reshape(-1).astype('int64'))"

CREATE TABLE paper (
  id BIGINT NOT NULL,
  x FLOAT[128] NOT NULL,  -- mean of the word embeddings of title and abstract
  year BIGINT NOT NULL,
  y BIGINT NOT NULL       -- 172 arXiv subject areas; -1: not an arXiv paper
);
--| COPY paper FROM ('ids.npy', 'node_feat.npy', 'year.npy', 'y.npy') BY COLUMN;

CREATE TABLE cites (
  src BIGINT NOT NULL,
  dst BIGINT NOT NULL
);
--| COPY cites FROM 'edge_index.npy';

-- The arXiv papers, as seeds: loader input ('paper', ids of this table).
CREATE TABLE split (
  id BIGINT NOT NULL,
  part VARCHAR NOT NULL
);
--| INSERT INTO split SELECT column0, 'train' FROM read_csv('../split/time/train.csv', header = false);
--| INSERT INTO split SELECT column0, 'valid' FROM read_csv('../split/time/valid.csv', header = false);
--| INSERT INTO split SELECT column0, 'test' FROM read_csv('../split/time/test.csv', header = false);

CREATE PROPERTY GRAPH papers100m
  VERTEX TABLES (
    paper KEY (id) PROPERTIES (x, year, y)
  )
  EDGE TABLES (
    cites SOURCE KEY (src) REFERENCES paper (id) DESTINATION KEY (dst) REFERENCES paper (id) NO PROPERTIES
  );
