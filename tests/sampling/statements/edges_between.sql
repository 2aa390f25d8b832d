WITH ends AS (
  SELECT DISTINCT dst FROM pairs),
edges AS (
  SELECT a.dst, unnest(a.nbrs) AS src, unnest(a.eids) AS edge
  FROM "shop"."dbgnn"."adj_1" AS a JOIN ends ON a.dst = ends.dst)
SELECT pairs."at", edges.edge
FROM edges JOIN pairs ON pairs.dst = edges.dst AND pairs.src = edges.src
