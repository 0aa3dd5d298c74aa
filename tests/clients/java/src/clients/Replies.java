package clients;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** Results of asynchronous calls, in the order in which they came. No element may be null. */
public final class Replies<T> {
    private final LinkedBlockingQueue<T> queue = new LinkedBlockingQueue<>();

    public void add(T reply) {
        queue.add(reply);
    }

    /** The next one, waited for. */
    public T take() throws InterruptedException {
        T reply = queue.poll(Suite.WAIT_MS, TimeUnit.MILLISECONDS);
        if (reply == null) {
            throw new AssertionError("no reply came");
        }
        return reply;
    }

    /** The next {@code count}, waited for. */
    public List<T> take(int count) throws InterruptedException {
        List<T> replies = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            replies.add(take());
        }
        return replies;
    }
}
