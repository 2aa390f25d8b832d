WITH joined AS (
  SELECT f."at", f.key, f.bits, f.spare, a.cum, a.guide, a.nbrs, a.eids, len(a.nbrs)::BIGINT AS deg
  FROM "dbgnn_lists_of_shop"."dbgnn"."lists_1" AS a JOIN frontier AS f ON a.dst = f.node),
bounds AS (
  SELECT "at", nbrs, eids, deg, cum, guide, bits, spare,
    0::BIGINT AS before, cum[len(cum)] // len(cum) AS width
  FROM joined),
weighed AS (
  SELECT "at", nbrs, eids, deg, cum, guide, bits, spare, before, width,
    cum[deg] - before AS total
  FROM bounds),
numbers AS (
  SELECT "at", nbrs, eids, deg, cum, guide, bits, spare, before, width,
    total, CASE WHEN deg > 64 THEN CASE WHEN spare IS NULL THEN list_transform(bits, lambda x: x % total)
    ELSE list_transform(range(1, 6 + 1), lambda i: coalesce(list_filter(list_transform(list_concat([bits[i]], spare[(i - 1) * 1 + 1:i * 1]), lambda x: CASE WHEN x - x % total <= 4611686018427387904 - total THEN x % total END), lambda x: x IS NOT NULL)[1], error('dbgnn: too few words')::BIGINT)) END END AS numbers
  FROM weighed),
drawn AS (
  SELECT "at", nbrs, eids, deg, cum, guide, bits, spare, before, width,
    total, CASE WHEN deg > 64 THEN list_transform(numbers, lambda r: list_reduce(CASE WHEN guide[r // width + 2] - guide[r // width + 1] < 8 THEN [4, 2, 1]::BIGINT[] ELSE [64, 32, 16, 8, 4, 2, 1]::BIGINT[] END, lambda x, b: x + CASE WHEN cum[x + b] <= r THEN b ELSE 0 END, coalesce(guide[r // width + 1], 0)::BIGINT) + 1) END AS drawn
  FROM numbers),
found AS (
  SELECT "at", nbrs, eids, deg, cum, guide, bits, spare, before,
    CASE WHEN deg > 64 THEN list_filter(drawn, lambda x, i: list_position(drawn, x) = i)[:3] ELSE range(1, deg + 1) END AS p
  FROM drawn),
chosen AS (
  SELECT "at", nbrs, eids, deg, cum, guide, bits, spare,
    CASE WHEN NOT (deg > 64) OR len(p) = 3 THEN p END AS p, CASE WHEN deg > 3 AND NOT (deg > 64) THEN cum END AS totals
  FROM found)
SELECT "at", list_select(nbrs, p) AS src, list_select(eids, p) AS edge, totals
FROM chosen
