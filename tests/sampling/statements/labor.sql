WITH joined AS (
  SELECT f."at", f.key, a.nbrs, a.eids, len(a.nbrs)::BIGINT AS deg
  FROM "shop"."dbgnn"."adj_1" AS a JOIN frontier AS f ON a.dst = f.node),
words AS (
  SELECT "at", nbrs, eids, deg,
    CASE WHEN deg > 3 THEN list_transform(list_transform(nbrs, lambda t: ((xor(xor(key, t & 4294967295), xor(key, t & 4294967295) >> 16) * 73244475) & 4294967295)), lambda w: ((xor(w, w >> 16) * 73244475) & 4294967295)) END AS w
  FROM joined),
chosen AS (
  SELECT "at", nbrs, eids, deg,
    CASE WHEN deg > 3 THEN list_transform(list_aggregate(list_transform(w, lambda w, i: (w << 31) | i), 'min', 3), lambda w: w & 2147483647) ELSE range(1, deg + 1) END AS p
  FROM words)
SELECT "at", list_select(nbrs, p) AS src, list_select(eids, p) AS edge
FROM chosen
