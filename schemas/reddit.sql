-- Reddit (Hamilton et al., Inductive Representation Learning on Large Graphs, 2017; https://data.dgl.ai/dataset/reddit.zip):
-- 232,965 posts of September 2014, 114,615,892 edges between posts that one user commented on.
--
-- Lines that start with --| load the files, after this in reddit (npz files are zip archives of npy files):
--   unzip reddit_data.npz && unzip reddit_graph.npz
--   python -c "import numpy as np
--   x = np.load('feature.npy').astype('float32')
--   np.save('ids.npy', np.arange(len(x))); np.save('x.npy', x)
--   np.save('y.npy', np.load('label.npy').astype('int64')); np.save('part.npy', np.load('node_types.npy').astype('int8'))
--   np.save('edge_index.npy', np.stack([np.load('row.npy'), np.load('col.npy')]).astype('int64'))"

CREATE TABLE post (
  id BIGINT NOT NULL,
  x FLOAT[602] NOT NULL,   -- word embeddings of title and comments, score, number of comments
  y BIGINT NOT NULL,       -- 41 communities
  part TINYINT NOT NULL    -- 1: train, 2: validation, 3: test
);
--| COPY post FROM ('ids.npy', 'x.npy', 'y.npy', 'part.npy') BY COLUMN;

CREATE TABLE shares_commenter (
  src BIGINT NOT NULL,
  dst BIGINT NOT NULL
);
--| COPY shares_commenter FROM 'edge_index.npy';

CREATE PROPERTY GRAPH reddit
  VERTEX TABLES (
    post KEY (id) PROPERTIES (x, y)
  )
  EDGE TABLES (
    shares_commenter SOURCE KEY (src) REFERENCES post (id) DESTINATION KEY (dst) REFERENCES post (id) NO PROPERTIES
  );
