SELECT "at", nbrs AS src, eids AS edge
FROM (
  SELECT f."at", f.key, a.nbrs, a.eids, len(a.nbrs)::BIGINT AS deg
  FROM "shop"."dbgnn"."adj_1" AS a JOIN frontier AS f ON a.dst = f.node)
