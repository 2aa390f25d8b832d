WITH joined AS (
  SELECT f."at", f.key, f.bits, f.spare, a.cum, a.width, a.guide, a.nbrs, a.eids, len(a.nbrs)::BIGINT AS deg
  FROM "dbgnn_lists_of_shop"."dbgnn"."lists_1" AS a JOIN frontier AS f ON a.dst = f.node),
together AS (
  SELECT "at", nbrs, eids, deg, cum, width, guide, bits, spare
  FROM joined
  ORDER BY "at" ASC),
bounds AS (
  SELECT "at", nbrs, eids, deg, cum, width, guide, bits, spare,
    0::BIGINT AS before
  FROM together),
weighed AS (
  SELECT "at", nbrs, eids, deg, cum, width, guide, bits, spare, before,
    cum[deg] - before AS total
  FROM bounds),
numbers AS (
  SELECT "at", nbrs, eids, deg, cum, width, guide, bits, spare, before,
    total, CASE WHEN deg > 3 THEN CASE WHEN spare IS NULL THEN list_transform(bits[:9], lambda x: x % total)
    ELSE list_transform(bits[:9], lambda x, i: CASE WHEN x <= 4611545280939032576 THEN x % total ELSE coalesce(CASE WHEN x - x % total <= 4611686018427387904 - total THEN x % total END, list_filter(spare[(i - 1) * 3 + 1:i * 3], lambda y: CASE WHEN y - y % total <= 4611686018427387904 - total THEN y % total END IS NOT NULL)[1] % total, error('dbgnn: too few words')::BIGINT) END) END END AS numbers
  FROM weighed),
drawn AS (
  SELECT "at", nbrs, eids, deg, cum, width, guide, bits, spare, before,
    total, CASE WHEN deg > 3 THEN CASE WHEN guide IS NOT NULL THEN list_transform(numbers, lambda r: list_reduce([4, 2, 1]::BIGINT[], lambda x, b: x + CASE WHEN cum[x + b] <= r THEN b ELSE 0 END, guide[r // width + 1]::BIGINT) + 1)
    ELSE list_transform(numbers, lambda r: list_reduce([64, 32, 16, 8, 4, 2, 1]::BIGINT[], lambda x, b: x + CASE WHEN cum[x + b] <= r THEN b ELSE 0 END, 0::BIGINT) + 1) END END AS drawn
  FROM numbers),
different AS (
  SELECT "at", nbrs, eids, deg, cum, width, guide, bits, spare, before, total,
    CASE WHEN deg > 3 THEN list_filter(drawn, lambda x, i: list_position(drawn, x) = i)[:3] ELSE range(1, deg + 1) END AS p
  FROM drawn),
lacking AS (
  SELECT "at", nbrs, eids, deg, cum, width, guide, bits, spare, before, total,
    p, CASE WHEN len(p) < least(deg, 3) THEN range(10, 13 - len(p)) END AS draws
  FROM different),
chosen AS (
  SELECT "at", nbrs, eids, deg, cum, width, guide, bits, spare,
    CASE WHEN draws IS NULL THEN p ELSE list_reduce(draws, lambda taken, i: list_append(taken, list_transform([list_reduce(list_sort(taken, 'ASC', 'NULLS LAST'), lambda y, c: y + CASE WHEN CASE WHEN c > 1 THEN cum[c - 1] ELSE 0 END <= y THEN cum[c] - CASE WHEN c > 1 THEN cum[c - 1] ELSE 0 END ELSE 0 END, before + list_transform([total - coalesce(list_sum(list_transform(taken, lambda c: cum[c] - CASE WHEN c > 1 THEN cum[c - 1] ELSE 0 END))::BIGINT, 0)], lambda rest: CASE WHEN bits[i] <= 4611545280939032576 THEN bits[i] % rest ELSE coalesce(CASE WHEN bits[i] - bits[i] % rest <= 4611686018427387904 - rest THEN bits[i] % rest END, list_filter(spare[(i - 1) * 3 + 1:i * 3], lambda y: CASE WHEN y - y % rest <= 4611686018427387904 - rest THEN y % rest END IS NOT NULL)[1] % rest, error('dbgnn: too few words')::BIGINT) END)[1])], lambda y: list_reduce([64, 32, 16, 8, 4, 2, 1]::BIGINT[], lambda x, b: x + CASE WHEN cum[x + b] <= y THEN b ELSE 0 END, 0::BIGINT) + 1)[1]), p) END AS p
  FROM lacking)
SELECT "at", list_select(nbrs, p) AS src, list_select(eids, p) AS edge
FROM chosen
