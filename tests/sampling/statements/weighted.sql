WITH joined AS (
  SELECT f."at", f.key, f.bits, f.spare, a.cum, a.width, a.guide, a.nbrs, a.eids, len(a.nbrs)::BIGINT AS deg
  FROM "dbgnn_lists_of_shop"."dbgnn"."lists_1" AS a JOIN frontier AS f ON a.dst = f.node),
bounds AS (
  SELECT "at", nbrs, eids, deg, cum, width, guide, bits, spare,
    0::BIGINT AS before
  FROM joined),
weighed AS (
  SELECT "at", nbrs, eids, deg, cum, width, guide, bits, spare, before,
    cum[deg] - before AS total
  FROM bounds),
numbers AS (
  SELECT "at", nbrs, eids, deg, cum, width, guide, bits, spare, before,
    total, CASE WHEN deg > 64 THEN CASE WHEN spare IS NULL THEN list_transform(bits, lambda x: x % total)
    ELSE list_transform(bits, lambda x, i: CASE WHEN x <= 4611545280939032576 THEN x % total ELSE coalesce(CASE WHEN x - x % total <= 4611686018427387904 - total THEN x % total END, CASE WHEN spare[i] - spare[i] % total <= 4611686018427387904 - total THEN spare[i] % total END, error('dbgnn: too few words')::BIGINT) END) END END AS numbers
  FROM weighed),
drawn AS (
  SELECT "at", nbrs, eids, deg, cum, width, guide, bits, spare, before,
    total, CASE WHEN deg > 64 THEN CASE WHEN guide IS NOT NULL THEN list_transform(numbers, lambda r: list_reduce([4, 2, 1]::BIGINT[], lambda x, b: x + CASE WHEN cum[x + b] <= r THEN b ELSE 0 END, guide[r // width + 1]::BIGINT) + 1)
    ELSE list_transform(numbers, lambda r: list_reduce([64, 32, 16, 8, 4, 2, 1]::BIGINT[], lambda x, b: x + CASE WHEN cum[x + b] <= r THEN b ELSE 0 END, 0::BIGINT) + 1) END END AS drawn
  FROM numbers),
found AS (
  SELECT "at", nbrs, eids, deg, cum, width, guide, bits, spare, before,
    CASE WHEN deg > 64 THEN list_filter(drawn, lambda x, i: list_position(drawn, x) = i)[:3] END AS p
  FROM drawn),
chosen AS (
  SELECT "at", nbrs, eids, deg, cum, width, guide, bits, spare,
    CASE WHEN len(p) = 3 THEN p END AS p, NOT (deg > 64) AS whole,
    CASE WHEN deg > 3 AND NOT (deg > 64) THEN cum END AS totals
  FROM found)
SELECT "at",
  CASE WHEN whole THEN nbrs ELSE list_select(nbrs, p) END AS src,
  CASE WHEN whole THEN eids ELSE list_select(eids, p) END AS edge, totals
FROM chosen
