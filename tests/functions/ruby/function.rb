# The test function in Ruby (rack on puma). Contract: ../CONTRACT.md.

require "json"
require "net/http"
require "puma"
require "puma/events"
require "puma/server"
require "rack"

NEXT = ENV["NEXT"].to_s
TRUTH = ENV["TRUTH"] && File.open(ENV["TRUTH"], "a").tap { |file| file.sync = true }
BUFFER = "x" * 65_536
TEXT = { "Content-Type" => "text/plain" }.freeze

def text(status, body)
  return [status, {}, []] if [204, 304].include?(status)

  [status, TEXT.merge("Content-Length" => body.bytesize.to_s), [body]]
end

def delay(query)
  sleep query["ms"].to_i / 1000.0
  text(200, "delayed #{query["ms"].to_i}\n")
end

def stream(env, query)
  sse = query["sse"].to_i != 0
  pieces = Enumerator.new do |out|
    # Puma holds an answer's pieces back until it is complete, or for 200 ms.
    env["puma.socket"].setsockopt(:TCP, :CORK, false)
    1.upto(query["n"].to_i) do |i|
      sleep query["ms"].to_i / 1000.0 if i > 1
      out << (sse ? "data: piece #{i}\n\n" : "piece #{i}\n")
    end
  end
  [200, { "Content-Type" => sse ? "text/event-stream" : "text/plain" }, pieces]
end

def big(query)
  bytes = query["bytes"].to_i
  pieces = Enumerator.new do |out|
    (bytes / BUFFER.bytesize).times { out << BUFFER }
    out << BUFFER.byteslice(0, bytes % BUFFER.bytesize)
  end
  [200, TEXT.merge("Content-Length" => bytes.to_s), pieces]
end

def upload(query, body)
  bytes = 0
  piece = String.new
  bytes += piece.bytesize while body.read(65_536, piece)
  sleep query["delay"].to_i / 1000.0
  text(200, "bytes=#{bytes}\n")
end

# A body that fails to give its pieces: the server closes the connection.
def abort_answer
  broken = Enumerator.new do |out|
    out << BUFFER.byteslice(0, 100)
    raise IOError, "aborted"
  end
  [200, TEXT.merge("Content-Length" => "1000"), broken]
end

def chain(query)
  answer = Net::HTTP.get_response(URI(NEXT + query["path"].to_s))
  text(answer.code.to_i, answer.body.to_s)
rescue SystemCallError, IOError, Net::ProtocolError => error
  text(502, "#{error.message}\n")
end

def fan(query)
  calls = Array.new(query["n"].to_i) { Thread.new { chain(query).first } }
  text(200, "fan #{calls.map(&:value).join(",")}\n")
end

# Follows a plan's node.
def hop(env)
  plan = env["HTTP_X_PLAN"]
  nodes = plan.split("|").map { |node| node.split(";", -1) }
  _, _, before, after, mode, children = nodes[env["HTTP_X_NODE"].to_i]
  sleep before.to_i / 1000.0
  visits = children.split(",").map { |child| -> { visit(nodes[child.to_i], "X-Plan" => plan, "X-Node" => child) } }
  whole = mode == "p" ? visits.map { |call| Thread.new(&call) }.map(&:value).all? : visits.all?(&:call)
  sleep after.to_i / 1000.0
  whole ? text(200, "ok\n") : text(502, "a child failed\n")
end

def visit((port, target), headers)
  Net::HTTP.get_response(URI("http://127.0.0.1:#{port}#{target}"), headers).code == "200"
rescue SystemCallError, IOError, Net::ProtocolError
  false
end

def burn(query)
  clock = -> { Process.clock_gettime(Process::CLOCK_THREAD_CPUTIME_ID, :nanosecond) }
  began = clock.call
  burned = clock.call - began while burned.to_i < query["ms"].to_i * 1_000_000
  text(200, "cpu_ns=#{burned.to_i}\n")
end

def echo_headers(env)
  headers = env.filter_map { |name, value| "#{name[5..].tr("_", "-").downcase}: #{value}\n" if name.start_with?("HTTP_") }
  text(200, headers.join)
end

def answer(env)
  query = Rack::Utils.parse_query(env["QUERY_STRING"])
  case env["PATH_INFO"].sub(%r{\A/t/[^/]*/}, "/")
  when "/hello" then text(200, "hello from ruby\n")
  when "/delay" then delay(query)
  when "/stream" then stream(env, query)
  when "/big" then big(query)
  when "/upload" then upload(query, env["rack.input"])
  when "/error" then text(query["status"].to_i, "status #{query["status"].to_i}\n")
  when "/abort" then abort_answer
  when "/chain" then chain(query)
  when "/fan" then fan(query)
  when %r{\A/hop/} then hop(env)
  when "/burn" then burn(query)
  when "/echo-headers" then echo_headers(env)
  else text(404, "not found\n")
  end
end

def now
  Process.clock_gettime(Process::CLOCK_MONOTONIC, :nanosecond)
end

def record(env, started)
  target = env["REQUEST_URI"]
  TRUTH&.write("#{{ path: target, pid: Process.pid, started_ns: started, ended_ns: now }.to_json}\n")
end

application = lambda do |env|
  started = now
  status, headers, body = answer(env)
  [status, headers, Rack::BodyProxy.new(body) { record(env, started) }]
end

server = Puma::Server.new(application, Puma::Events.null, max_threads: 64)
listener = server.add_tcp_listener(ENV.fetch("HOST", "127.0.0.1"), ENV.fetch("PORT", "0").to_i)
puts "listening #{listener.addr[1]}"
$stdout.flush
server.run.join
