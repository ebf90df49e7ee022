-- wrk script: one row, V1 predict, keep-alive.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"instances":[[8.3252,41.0,6.984,1.0238,322.0,2.5556,37.88,-122.23]]}'
