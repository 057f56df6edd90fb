<?php
// The test function in PHP, by php-fpm behind nginx or by PHP's own server. Contract: ../CONTRACT.md.

const BUFFER_BYTES = 65536;

$started = hrtime(true);
header('Content-Type: text/plain');
answer(preg_replace(['#^/t/[^/]*/#', '#^/hop/.*#'], ['/', '/hop'], strtok($_SERVER['REQUEST_URI'], '?')));
finish();
record($started);

function answer(string $route): void
{
    match ($route) {
        '/hello' => text(200, "hello from php\n"),
        '/delay' => delay(),
        '/stream' => stream(),
        '/big' => big(number('bytes')),
        '/upload' => upload(),
        '/error' => error(number('status')),
        '/abort' => partial(),
        '/chain' => text(...call(getenv('NEXT') . $_GET['path'])),
        '/fan' => fan(),
        '/hop' => hop(),
        '/burn' => text(200, 'cpu_ns=' . burn(number('ms')) . "\n"),
        '/echo-headers' => echo_headers(),
        default => text(404, "not found\n"),
    };
}

function number(string $parameter): int
{
    return (int) ($_GET[$parameter] ?? 0);
}

function sleep_ms(int $ms): void
{
    usleep($ms * 1000);
}

function text(int $status, string $body): void
{
    http_response_code($status);
    header('Content-Length: ' . strlen($body));
    echo $body;
}

function delay(): void
{
    sleep_ms(number('ms'));
    text(200, 'delayed ' . number('ms') . "\n");
}

function stream(): void
{
    if (number('sse')) {
        header('Content-Type: text/event-stream');
    }
    for ($i = 1; $i <= number('n'); $i++) {
        if ($i > 1) {
            sleep_ms(number('ms'));
        }
        echo number('sse') ? "data: piece $i\n\n" : "piece $i\n";
        flush();
    }
}

function big(int $bytes): void
{
    header("Content-Length: $bytes");
    $buffer = str_repeat('x', BUFFER_BYTES);
    for ($left = $bytes; $left > 0; $left -= BUFFER_BYTES) {
        echo $left < BUFFER_BYTES ? substr($buffer, 0, $left) : $buffer;
    }
}

function upload(): void
{
    $body = fopen('php://input', 'rb');
    for ($bytes = 0; !feof($body); $bytes += strlen(fread($body, BUFFER_BYTES)));
    sleep_ms(number('delay'));
    text(200, "bytes=$bytes\n");
}

function error(int $status): void
{
    if ($status === 204 || $status === 304) {
        http_response_code($status);
    } else {
        text($status, "status $status\n");
    }
}

/** The script ends before its answer: the server closes the connection. */
function partial(): void
{
    header('Content-Length: 1000');
    echo str_repeat('x', 100);
}

function request(string $url, array $headers = []): CurlHandle
{
    $handle = curl_init($url);
    curl_setopt_array($handle, [CURLOPT_RETURNTRANSFER => true, CURLOPT_HTTPHEADER => $headers]);
    return $handle;
}

/** Status and body. */
function call(string $url): array
{
    $handle = request($url);
    $body = curl_exec($handle);
    return $body === false ? [502, curl_error($handle) . "\n"] : [curl_getinfo($handle, CURLINFO_RESPONSE_CODE), $body];
}

/** All at once; the statuses. */
function call_all(array $handles): array
{
    $all = curl_multi_init();
    foreach ($handles as $handle) {
        curl_multi_add_handle($all, $handle);
    }
    do {
        curl_multi_exec($all, $running);
        curl_multi_select($all);
    } while ($running);
    return array_map(fn ($handle) => curl_getinfo($handle, CURLINFO_RESPONSE_CODE) ?: 502, $handles);
}

function fan(): void
{
    $handles = [];
    for ($i = 0; $i < number('n'); $i++) {
        $handles[] = request(getenv('NEXT') . $_GET['path']);
    }
    text(200, 'fan ' . implode(',', call_all($handles)) . "\n");
}

/** Follows a plan's node. */
function hop(): void
{
    $plan = $_SERVER['HTTP_X_PLAN'];
    $nodes = array_map(fn ($node) => explode(';', $node), explode('|', $plan));
    [, , $before, $after, $mode, $children] = $nodes[(int) $_SERVER['HTTP_X_NODE']];
    sleep_ms((int) $before);
    $handles = array_map(function ($child) use ($plan, $nodes) {
        [$port, $target] = $nodes[(int) $child];
        return request("http://127.0.0.1:$port$target", ["X-Plan: $plan", "X-Node: $child"]);
    }, $children === '' ? [] : explode(',', $children));
    if ($mode === 'p') {
        $statuses = call_all($handles);
    } else {
        $statuses = array_map(function ($handle) {
            curl_exec($handle);
            return curl_getinfo($handle, CURLINFO_RESPONSE_CODE);
        }, $handles);
    }
    sleep_ms((int) $after);
    array_diff($statuses, [200]) === [] ? text(200, "ok\n") : text(502, "a child failed\n");
}

/** Of the process, which has one thread. */
function cpu_ns(): int
{
    $usage = getrusage();
    $microseconds = ($usage['ru_utime.tv_sec'] + $usage['ru_stime.tv_sec']) * 1_000_000;
    return ($microseconds + $usage['ru_utime.tv_usec'] + $usage['ru_stime.tv_usec']) * 1000;
}

function burn(int $ms): int
{
    for ($began = cpu_ns(); cpu_ns() - $began < $ms * 1_000_000;);
    return cpu_ns() - $began;
}

function echo_headers(): void
{
    $lines = '';
    foreach (getallheaders() as $name => $value) {
        $lines .= strtolower($name) . ": $value\n";
    }
    text(200, $lines);
}

/** Hands over all that was written. */
function finish(): void
{
    function_exists('fastcgi_finish_request') ? fastcgi_finish_request() : flush();
}

function record(int $started): void
{
    if ($truth = getenv('TRUTH')) {
        $line = ['path' => $_SERVER['REQUEST_URI'], 'pid' => getmypid(), 'started_ns' => $started, 'ended_ns' => hrtime(true)];
        file_put_contents($truth, json_encode($line, JSON_UNESCAPED_SLASHES) . "\n", FILE_APPEND);
    }
}
