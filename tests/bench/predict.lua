-- wrk script: V1 predict, keep-alive, ROWS rows that differ a little (default 1).
local rows = {}
for i = 1, tonumber(os.getenv("ROWS") or 1) do
  rows[i] = string.format("[%.4f,%d.0,%.3f,1.0238,%d.0,2.5556,37.88,-122.23]", 8.3252 - i % 71 / 10, 1 + (i + 39) % 52,
    6.983 + i % 10 / 1000, 321 + i)
end
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"instances":[' .. table.concat(rows, ",") .. "]}"
