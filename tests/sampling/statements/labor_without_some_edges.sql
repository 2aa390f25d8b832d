WITH joined AS (
  SELECT f."at", f.key, f.excluded, a.nbrs, a.eids, len(a.nbrs)::BIGINT AS deg
  FROM "shop"."dbgnn"."adj_1" AS a JOIN frontier AS f ON a.dst = f.node),
searched AS (
  SELECT "at", key, nbrs, eids, deg,
    CASE WHEN excluded IS NOT NULL THEN list_sort(list_filter(list_transform(excluded, lambda e: list_position(eids, e)::BIGINT - 0), lambda g: g BETWEEN 1 AND deg), 'ASC', 'NULLS LAST') END AS gone
  FROM joined),
without AS (
  SELECT "at", key, nbrs, eids, deg - coalesce(len(gone), 0) AS deg, gone
  FROM searched
  WHERE deg > coalesce(len(gone), 0)),
words AS (
  SELECT "at", nbrs, eids, deg, gone,
    CASE WHEN deg > 3 THEN list_transform(list_transform(nbrs[0 + 1:0 + deg + coalesce(len(gone), 0)], lambda t: ((xor(xor(key, t & 4294967295), xor(key, t & 4294967295) >> 16) * 73244475) & 4294967295)), lambda w: ((xor(w, w >> 16) * 73244475) & 4294967295)) END AS w
  FROM without),
chosen AS (
  SELECT "at", nbrs, eids, deg, gone,
    CASE WHEN deg > 3 THEN list_transform(list_aggregate(CASE WHEN gone IS NULL THEN list_transform(w, lambda w, i: (w << 31) | i) ELSE list_filter(list_transform(w, lambda w, i: (w << 31) | i), lambda x: NOT list_contains(gone, x & 2147483647)) END, 'min', 3), lambda w: w & 2147483647) ELSE CASE WHEN gone IS NULL THEN range(1, deg + coalesce(len(gone), 0) + 1) ELSE list_filter(range(1, deg + coalesce(len(gone), 0) + 1), lambda x: NOT list_contains(gone, x)) END END AS p
  FROM words)
SELECT "at", list_select(nbrs, p) AS src, list_select(eids, p) AS edge
FROM chosen
