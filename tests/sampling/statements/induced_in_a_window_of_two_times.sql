WITH edges AS (
  SELECT near_nodes.batch, near_nodes.tree, near_nodes.local_id AS near,
    unnest(lists.nbrs) AS neighbour, unnest(lists.eids) AS edge,
    near_nodes.until, unnest(lists.times) AS time, near_nodes.since, unnest(lists.earlier) AS earlier
  FROM "lists"."timed_2" AS lists JOIN near_nodes ON lists.dst = near_nodes.node)
SELECT edges.batch, edges.near, far_nodes.local_id AS far, edges.edge
FROM edges JOIN far_nodes
  ON far_nodes.batch = edges.batch AND far_nodes.tree = edges.tree AND far_nodes.node = edges.neighbour
WHERE edges.time <= edges.until AND edges.earlier > edges.since
