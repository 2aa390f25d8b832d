WITH joined AS (
  SELECT f."at", f.key, f.until, f.since, f.excluded, f.bits, f.spare, a.times, a.cum, a.width, a.guide, a.nbrs, a.eids, len(a.nbrs)::BIGINT AS deg
  FROM "dbgnn_lists_of_shop"."dbgnn"."lists_1" AS a JOIN frontier AS f ON a.dst = f.node),
upto6 AS (
  SELECT "at", key, nbrs, eids, times, excluded, cum, width, guide, bits, spare, since, until,
    CASE WHEN times[64] <= until THEN 64::BIGINT ELSE 0 END AS upto
  FROM joined),
upto5 AS (
  SELECT "at", key, nbrs, eids, times, excluded, cum, width, guide, bits, spare, since, until,
    upto + CASE WHEN times[upto + 32] <= until THEN 32::BIGINT ELSE 0 END AS upto
  FROM upto6),
upto4 AS (
  SELECT "at", key, nbrs, eids, times, excluded, cum, width, guide, bits, spare, since, until,
    upto + CASE WHEN times[upto + 16] <= until THEN 16::BIGINT ELSE 0 END AS upto
  FROM upto5),
upto3 AS (
  SELECT "at", key, nbrs, eids, times, excluded, cum, width, guide, bits, spare, since, until,
    upto + CASE WHEN times[upto + 8] <= until THEN 8::BIGINT ELSE 0 END AS upto
  FROM upto4),
upto2 AS (
  SELECT "at", key, nbrs, eids, times, excluded, cum, width, guide, bits, spare, since, until,
    upto + CASE WHEN times[upto + 4] <= until THEN 4::BIGINT ELSE 0 END AS upto
  FROM upto3),
upto1 AS (
  SELECT "at", key, nbrs, eids, times, excluded, cum, width, guide, bits, spare, since, until,
    upto + CASE WHEN times[upto + 2] <= until THEN 2::BIGINT ELSE 0 END AS upto
  FROM upto2),
upto0 AS (
  SELECT "at", key, nbrs, eids, times, excluded, cum, width, guide, bits, spare, since, until,
    upto + CASE WHEN times[upto + 1] <= until THEN 1::BIGINT ELSE 0 END AS upto
  FROM upto1),
first6 AS (
  SELECT "at", key, nbrs, eids, times, excluded, cum, width, guide, bits, spare, since, upto,
    CASE WHEN times[64] <= since THEN 64::BIGINT ELSE 0 END AS first
  FROM upto0),
first5 AS (
  SELECT "at", key, nbrs, eids, times, excluded, cum, width, guide, bits, spare, since, upto,
    first + CASE WHEN times[first + 32] <= since THEN 32::BIGINT ELSE 0 END AS first
  FROM first6),
first4 AS (
  SELECT "at", key, nbrs, eids, times, excluded, cum, width, guide, bits, spare, since, upto,
    first + CASE WHEN times[first + 16] <= since THEN 16::BIGINT ELSE 0 END AS first
  FROM first5),
first3 AS (
  SELECT "at", key, nbrs, eids, times, excluded, cum, width, guide, bits, spare, since, upto,
    first + CASE WHEN times[first + 8] <= since THEN 8::BIGINT ELSE 0 END AS first
  FROM first4),
first2 AS (
  SELECT "at", key, nbrs, eids, times, excluded, cum, width, guide, bits, spare, since, upto,
    first + CASE WHEN times[first + 4] <= since THEN 4::BIGINT ELSE 0 END AS first
  FROM first3),
first1 AS (
  SELECT "at", key, nbrs, eids, times, excluded, cum, width, guide, bits, spare, since, upto,
    first + CASE WHEN times[first + 2] <= since THEN 2::BIGINT ELSE 0 END AS first
  FROM first2),
first0 AS (
  SELECT "at", key, nbrs, eids, times, excluded, cum, width, guide, bits, spare, since, upto,
    first + CASE WHEN times[first + 1] <= since THEN 1::BIGINT ELSE 0 END AS first
  FROM first1),
eligible AS (
  SELECT "at", key, nbrs, eids, excluded, cum, width, guide, bits, spare, first, upto - first AS deg
  FROM first0
  WHERE upto - first > 0),
searched AS (
  SELECT "at", key, nbrs, eids, deg, cum, width, guide, bits, spare, first,
    CASE WHEN excluded IS NOT NULL THEN list_sort(list_filter(list_transform(excluded, lambda e: list_position(eids, e)::BIGINT - first), lambda g: g BETWEEN 1 AND deg), 'ASC', 'NULLS LAST') END AS gone
  FROM eligible),
without AS (
  SELECT "at", key, nbrs, eids, deg - coalesce(len(gone), 0) AS deg, cum, width, guide, bits, spare, first, gone
  FROM searched
  WHERE deg > coalesce(len(gone), 0)),
bounds AS (
  SELECT "at", nbrs, eids, deg, first, gone, cum, width, guide, bits, spare,
    CASE WHEN first > 0 THEN cum[first] ELSE 0 END AS before, coalesce(list_transform(gone, lambda g: g + first), []::BIGINT[]) AS past
  FROM without),
weighed AS (
  SELECT "at", nbrs, eids, deg, first, gone, cum, width, guide, bits, spare, before, past,
    cum[first + deg + len(past)] - before - coalesce(list_sum(list_transform(past, lambda c: cum[c] - CASE WHEN c > 1 THEN cum[c - 1] ELSE 0 END))::BIGINT, 0) AS total
  FROM bounds),
numbers AS (
  SELECT "at", nbrs, eids, deg, first, gone, cum, width, guide, bits, spare, before, past,
    total, CASE WHEN deg > 64 OR (gone IS NOT NULL AND deg > 3) THEN CASE WHEN spare IS NULL THEN list_transform(bits, lambda x: list_reduce(past, lambda y, c: y + CASE WHEN CASE WHEN c > 1 THEN cum[c - 1] ELSE 0 END <= y THEN cum[c] - CASE WHEN c > 1 THEN cum[c - 1] ELSE 0 END ELSE 0 END, before + x % total))
    ELSE list_transform(bits, lambda x, i: list_reduce(past, lambda y, c: y + CASE WHEN CASE WHEN c > 1 THEN cum[c - 1] ELSE 0 END <= y THEN cum[c] - CASE WHEN c > 1 THEN cum[c - 1] ELSE 0 END ELSE 0 END, before + CASE WHEN x <= 4611545280939032576 THEN x % total ELSE coalesce(CASE WHEN x - x % total <= 4611686018427387904 - total THEN x % total END, CASE WHEN spare[i] - spare[i] % total <= 4611686018427387904 - total THEN spare[i] % total END, error('dbgnn: too few words')::BIGINT) END)) END END AS numbers
  FROM weighed),
drawn AS (
  SELECT "at", nbrs, eids, deg, first, gone, cum, width, guide, bits, spare, before, past,
    total, CASE WHEN deg > 64 OR (gone IS NOT NULL AND deg > 3) THEN CASE WHEN guide IS NOT NULL THEN list_transform(numbers, lambda r: list_reduce([4, 2, 1]::BIGINT[], lambda x, b: x + CASE WHEN cum[x + b] <= r THEN b ELSE 0 END, guide[r // width + 1]::BIGINT) + 1)
    ELSE list_transform(numbers, lambda r: list_reduce([64, 32, 16, 8, 4, 2, 1]::BIGINT[], lambda x, b: x + CASE WHEN cum[x + b] <= r THEN b ELSE 0 END, 0::BIGINT) + 1) END END AS drawn
  FROM numbers),
found AS (
  SELECT "at", nbrs, eids, deg, first, gone, cum, width, guide, bits, spare, before,
    CASE WHEN deg > 64 OR (gone IS NOT NULL AND deg > 3) THEN list_filter(drawn, lambda x, i: list_position(drawn, x) = i)[:3] ELSE list_filter(range(first + 1, first + deg + len(past) + 1), lambda x: NOT list_contains(past, x)) END AS p
  FROM drawn),
chosen AS (
  SELECT "at", nbrs, eids, deg, first, gone, cum, width, guide, bits, spare,
    CASE WHEN NOT (deg > 64 OR (gone IS NOT NULL AND deg > 3)) OR len(p) = 3 THEN p END AS p, false AS whole,
    CASE WHEN deg > 3 AND NOT (deg > 64 OR (gone IS NOT NULL AND deg > 3)) THEN list_transform(cum[first + 1:first + deg], lambda c: c - before) END AS totals
  FROM found)
SELECT "at",
  CASE WHEN whole THEN nbrs ELSE list_select(nbrs, p) END AS src,
  CASE WHEN whole THEN eids ELSE list_select(eids, p) END AS edge, totals
FROM chosen
