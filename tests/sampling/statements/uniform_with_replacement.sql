WITH joined AS (
  SELECT f."at", f.key, a.nbrs, a.eids, len(a.nbrs)::BIGINT AS deg
  FROM "shop"."dbgnn"."adj_1" AS a JOIN frontier AS f ON a.dst = f.node),
words AS (
  SELECT "at", nbrs, eids, deg,
    list_transform(list_transform(list_transform(range(3),
    lambda j: xor(key, j)), lambda w: ((xor(w, w >> 16) * 73244475) & 4294967295)), lambda w: ((xor(w, w >> 16) * 73244475) & 4294967295)) AS w
  FROM joined),
chosen AS (
  SELECT "at", nbrs, eids, deg,
    list_transform(w, lambda w, i: coalesce(CASE WHEN ((w * (deg)) & 4294967295) >= (deg) THEN (((w * (deg)) >> 32) + 1) WHEN ((w * (deg)) & 4294967295) >= 4294967296 % (deg) THEN (((w * (deg)) >> 32) + 1) END, error('dbgnn: too few words')::BIGINT)) AS p
  FROM words)
SELECT "at", list_select(nbrs, p) AS src, list_select(eids, p) AS edge
FROM chosen
