-- MovieLens (https://grouplens.org/datasets/movielens/): users rate movies. For every release with movies.csv and ratings.csv
-- (ml-latest-small, 25M, 32M). Users and movies keep GroupLens' own ids, which have gaps.
--
-- Lines that start with --| load the files, in the release's folder.

CREATE TABLE movie (
  id BIGINT PRIMARY KEY,
  title VARCHAR NOT NULL,
  genres VARCHAR NOT NULL,  -- separated by |
  x FLOAT[20]               -- genres as a multi-hot vector
);
--| SET force_compression = 'uncompressed';
--| INSERT INTO movie
--|   SELECT movieId, title, genres, list_transform(
--|     ['(no genres listed)', 'Action', 'Adventure', 'Animation', 'Children', 'Comedy', 'Crime', 'Documentary', 'Drama', 'Fantasy',
--|      'Film-Noir', 'Horror', 'IMAX', 'Musical', 'Mystery', 'Romance', 'Sci-Fi', 'Thriller', 'War', 'Western'],
--|     lambda genre: list_contains(string_split(genres, '|'), genre)::FLOAT)::FLOAT[20]
--|   FROM 'movies.csv';
--| CHECKPOINT;
--| RESET force_compression;

CREATE TABLE "user" (
  id BIGINT PRIMARY KEY
);
--| INSERT INTO "user" SELECT DISTINCT userId FROM 'ratings.csv' ORDER BY ALL;

CREATE TABLE rating (
  user_id BIGINT NOT NULL,
  movie_id BIGINT NOT NULL,
  rating FLOAT NOT NULL,          -- 0.5 … 5 stars
  rated_at TIMESTAMP_S NOT NULL   -- served as int64, seconds since 1970-01-01
);
--| INSERT INTO rating
--|   SELECT userId, movieId, rating, make_timestamp("timestamp"::BIGINT * 1000000) FROM 'ratings.csv' ORDER BY "timestamp";

CREATE PROPERTY GRAPH movielens
  VERTEX TABLES (
    movie KEY (id) PROPERTIES (x),
    "user" KEY (id)
  )
  EDGE TABLES (
    rating SOURCE KEY (user_id) REFERENCES "user" (id) DESTINATION KEY (movie_id) REFERENCES movie (id)
      LABEL rates PROPERTIES (rating, rated_at),
    rating SOURCE KEY (movie_id) REFERENCES movie (id) DESTINATION KEY (user_id) REFERENCES "user" (id)
      LABEL rated_by PROPERTIES (rating, rated_at)
  );
