SELECT d.b, d.li, s.li AS src_li, d.e
FROM (
  SELECT t.b, t.li, t.tree, unnest(a.nbrs) AS src, unnest(a.eids) AS e
  FROM "shop"."dbgnn"."adj_1" AS a JOIN targets AS t ON a.dst = t.node) AS d
JOIN sources AS s ON s.b = d.b AND s.tree = d.tree AND s.node = d.src
