// HikariCP under the same load as every other pool here; see bench/load.h for the scenarios.
//
// Its connections do nothing: a DataSource of proxies. Started as
//     java -cp HikariCP.jar:slf4j-api.jar:. HikariBench SCENARIO SECONDS
// by a parent that has set its timer slack to 1 ns, which every thread of the virtual machine
// inherits. The scenario first runs unmeasured, in many short rounds: the compiler must have seen
// the loop end, or it takes its work back at the start of the measured one.

import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.lang.reflect.InvocationHandler;
import java.lang.reflect.Proxy;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.locks.LockSupport;
import javax.sql.DataSource;

public final class HikariBench {
    static final Map<String, Integer> THREADS = Map.of("t1", 1, "t8", 8, "t64h", 64);
    static final int CONNS = 8;
    static final long HOLD_NS = 100_000;
    static final int WARM_UP_ROUNDS = 12;
    static final double WARM_UP_SECONDS = 0.2;
    static final int BUCKET_BITS = 5;

    /** What one thread counted; padded, so that no two threads write one cache line. */
    static final class Worker {
        long p0, p1, p2, p3, p4, p5, p6, p7;
        volatile long ops;
        final long[] buckets = new long[(64 - BUCKET_BITS + 1) << BUCKET_BITS];
        long q0, q1, q2, q3, q4, q5, q6, q7;
    }

    static volatile boolean go;
    static volatile boolean stop;

    static int bucket(long value) {
        if (value < (1 << BUCKET_BITS)) return (int) value;
        int shift = 63 - Long.numberOfLeadingZeros(value) - BUCKET_BITS;
        return (shift << BUCKET_BITS) + (int) (value >>> shift);
    }

    static long bucketValue(int bucket) {
        if (bucket < (2 << BUCKET_BITS)) return bucket;
        int shift = (bucket >> BUCKET_BITS) - 1;
        return (long) (bucket - (shift << BUCKET_BITS)) << shift;
    }

    static Object answer(Class<?> type) {
        if (type == boolean.class) return Boolean.TRUE;
        if (type == int.class) return Connection.TRANSACTION_READ_COMMITTED;
        return null;
    }

    static Object proxy(Class<?> type, InvocationHandler handler) {
        ClassLoader loader = HikariBench.class.getClassLoader();
        return Proxy.newProxyInstance(loader, new Class<?>[] {type}, handler);
    }

    static Connection fakeConnection() {
        return (Connection) proxy(Connection.class, (self, method, args) -> {
            switch (method.getName()) {
                case "isClosed": return Boolean.FALSE;
                case "isReadOnly": return Boolean.FALSE;
                case "hashCode": return System.identityHashCode(self);
                case "equals": return self == args[0];
                default: return answer(method.getReturnType());
            }
        });
    }

    static HikariDataSource openPool() throws Exception {
        DataSource source = (DataSource) proxy(DataSource.class, (self, method, args) -> {
            if (method.getName().equals("getConnection")) return fakeConnection();
            return method.getReturnType() == int.class ? (Object) 0 : answer(method.getReturnType());
        });
        HikariConfig config = new HikariConfig();
        config.setDataSource(source);
        config.setMaximumPoolSize(CONNS);
        config.setMinimumIdle(CONNS);
        HikariDataSource pool = new HikariDataSource(config);
        while (pool.getHikariPoolMXBean().getTotalConnections() < CONNS) Thread.sleep(10);
        return pool;
    }

    static void loopPairs(HikariDataSource pool, Worker worker) throws SQLException {
        long ops = 0;
        for (; !stop; ops++) {
            Connection conn = pool.getConnection();
            conn.close();
        }
        worker.ops = ops;
    }

    static void loopAsleep(HikariDataSource pool, Worker worker) throws SQLException {
        long ops = 0;
        for (; !stop; ops++) {
            long began = System.nanoTime();
            Connection conn = pool.getConnection();
            long took = System.nanoTime() - began;
            LockSupport.parkNanos(HOLD_NS);
            conn.close();
            worker.buckets[bucket(took)]++;
        }
        worker.ops = ops;
    }

    static long measure(HikariDataSource pool, Worker[] workers, boolean asleep, double seconds)
            throws InterruptedException {
        Thread[] threads = new Thread[workers.length];
        go = false;
        stop = false;
        for (int i = 0; i < threads.length; i++) {
            Worker worker = workers[i] = new Worker();
            threads[i] = new Thread(() -> {
                while (!go) Thread.yield();
                try {
                    if (asleep) loopAsleep(pool, worker);
                    else loopPairs(pool, worker);
                } catch (SQLException e) {
                    throw new IllegalStateException(e);
                }
            });
        }
        for (Thread thread : threads) thread.start();
        Thread.sleep(20);
        long began = System.nanoTime();
        go = true;
        Thread.sleep((long) (seconds * 1e3));
        stop = true;
        long wall = System.nanoTime() - began;
        for (Thread thread : threads) thread.join();
        return wall;
    }

    static double percentileUs(Worker[] workers, double part, long ops) {
        long seen = 0;
        for (int b = 0; b < workers[0].buckets.length; b++) {
            for (Worker worker : workers) seen += worker.buckets[b];
            if (seen >= part * ops) return bucketValue(b) / 1e3;
        }
        return 0;
    }

    static void print(String scenario, Worker[] workers, boolean asleep, long wall) {
        long ops = 0, least = Long.MAX_VALUE, most = 0;
        for (Worker worker : workers) {
            ops += worker.ops;
            least = Math.min(least, worker.ops);
            most = Math.max(most, worker.ops);
        }
        String tail = !asleep ? "" : String.format(Locale.ROOT, ",\"p50_us\":%.2f,\"p99_us\":%.2f",
            percentileUs(workers, 0.50, ops), percentileUs(workers, 0.99, ops));
        String version = System.getProperty("bench.version", "") + " on Java "
            + System.getProperty("java.version");
        System.out.printf(Locale.ROOT,
            "{\"peer\":\"hikaricp\",\"version\":\"%s\",\"scenario\":\"%s\",\"ops\":%d,"
                + "\"ns_pair\":%.3f,\"ops_per_s\":%.0f,\"fairness\":%.4f%s}%n",
            version, scenario, ops, (double) wall / ops, ops * 1e9 / wall,
            most == 0 ? 0.0 : (double) least / most, tail);
    }

    public static void main(String[] args) throws Exception {
        int threads = args.length == 2 ? THREADS.getOrDefault(args[0], 0) : 0;
        if (threads == 0) {
            System.err.println("usage: HikariBench t1|t8|t64h SECONDS");
            System.exit(2);
        }
        boolean asleep = threads == 64;
        Worker[] workers = new Worker[threads];
        try (HikariDataSource pool = openPool()) {
            for (int i = 0; i < WARM_UP_ROUNDS; i++)
                measure(pool, workers, asleep, WARM_UP_SECONDS);
            long wall = measure(pool, workers, asleep, Double.parseDouble(args[1]));
            print(args[0], workers, asleep, wall);
        }
    }
}
