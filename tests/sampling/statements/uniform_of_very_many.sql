WITH joined AS (
  SELECT f."at", f.key, a.nbrs, a.eids, len(a.nbrs)::BIGINT AS deg
  FROM "shop"."dbgnn"."adj_1" AS a JOIN frontier AS f ON a.dst = f.node),
chosen AS (
  SELECT "at", nbrs, eids, deg,
    CASE WHEN deg > 256 THEN list_transform(list_aggregate(list_transform(list_transform(list_transform(list_transform(range(deg),
    lambda j: xor(key, j)), lambda w: ((xor(w, w >> 16) * 73244475) & 4294967295)), lambda w: ((xor(w, w >> 16) * 73244475) & 4294967295)), lambda w, i: (w << 31) | i), 'min', 256), lambda w: w & 2147483647) ELSE range(1, deg + 1) END AS p
  FROM joined)
SELECT "at", list_select(nbrs, p) AS src, list_select(eids, p) AS edge
FROM chosen
