package clients;

import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executor;
import java.util.function.Consumer;
import org.apache.curator.framework.listen.StandardListenerManager;
import org.apache.curator.framework.listen.UnaryListenerManager;
import org.apache.curator.framework.state.ConnectionStateListener;

/**
 * The listeners for the connection's states, and the moment when all of them have been told of the first one. A listener that is
 * added while the others are being told may or may not be told as well: Curator walks a concurrent map.
 */
final class ToldStates implements UnaryListenerManager<ConnectionStateListener> {
    private final UnaryListenerManager<ConnectionStateListener> listeners = StandardListenerManager.standard();

    /** Open once the first state has been told to everybody. */
    final CountDownLatch first = new CountDownLatch(1);

    @Override
    public void forEach(Consumer<ConnectionStateListener> tell) {
        listeners.forEach(tell);
        first.countDown();
    }

    @Override
    public void addListener(ConnectionStateListener listener) {
        listeners.addListener(listener);
    }

    @Override
    public void addListener(ConnectionStateListener listener, Executor executor) {
        listeners.addListener(listener, executor);
    }

    @Override
    public void removeListener(ConnectionStateListener listener) {
        listeners.removeListener(listener);
    }

    @Override
    public void clear() {
        listeners.clear();
    }

    @Override
    public int size() {
        return listeners.size();
    }
}
