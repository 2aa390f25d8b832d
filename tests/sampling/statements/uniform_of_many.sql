WITH joined AS (
  SELECT f."at", f.key, a.nbrs, a.eids, len(a.nbrs)::BIGINT AS deg
  FROM "shop"."dbgnn"."adj_1" AS a JOIN frontier AS f ON a.dst = f.node),
words AS (
  SELECT "at", nbrs, eids, deg,
    CASE WHEN deg > 12 THEN list_transform(list_transform(list_transform(range(12),
    lambda j: xor(key, j)), lambda w: ((xor(w, w >> 16) * 73244475) & 4294967295)), lambda w: ((xor(w, w >> 16) * 73244475) & 4294967295)) END AS w
  FROM joined),
drawn AS (
  SELECT "at", nbrs, eids, deg,
    CASE WHEN deg > 12 THEN list_transform(w, lambda w, i: coalesce(CASE WHEN ((w * (deg - 12 + i)) & 4294967295) >= (deg - 12 + i) THEN (((w * (deg - 12 + i)) >> 32) + 1) WHEN ((w * (deg - 12 + i)) & 4294967295) >= 4294967296 % (deg - 12 + i) THEN (((w * (deg - 12 + i)) >> 32) + 1) END, error('dbgnn: too few words')::BIGINT)) END AS d
  FROM words),
chosen AS (
  SELECT "at", nbrs, eids, deg,
    CASE WHEN deg > 12 THEN list_reduce(d, lambda taken, x, i: list_append(taken, CASE WHEN list_contains(taken, x) THEN deg - 12 + i ELSE x END), []::BIGINT[]) ELSE range(1, deg + 1) END AS p
  FROM drawn)
SELECT "at", list_select(nbrs, p) AS src, list_select(eids, p) AS edge
FROM chosen
